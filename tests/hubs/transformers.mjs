// Loads a configuration and a tokenizer with transformers.js. Usage: node transformers.mjs NODE_MODULES HOST CACHE REPO
// Prints what they are, as JSON.
import { pathToFileURL } from 'node:url'

const [modules, host, cache, repo] = process.argv.slice(2)
const entry = `${modules}/@huggingface/transformers/dist/transformers.node.mjs`
const { env, AutoConfig, AutoTokenizer } = await import(pathToFileURL(entry))
env.remoteHost = host
env.cacheDir = cache
env.allowLocalModels = false
const config = await AutoConfig.from_pretrained(repo)
const tokenizer = await AutoTokenizer.from_pretrained(repo)
const { input_ids: ids } = tokenizer('hello world', { return_tensor: false })
console.log(JSON.stringify({ type: config.model_type, ids }))
process.exit(0)
