// A client made of Helia that only knows one gateway. Usage: node helia_client.mjs NODE_MODULES URL CID[/PATH]
// Writes the file to stdout; every block was verified by Helia.
import { packagesOf } from './npm_packages.mjs'

const [modules, gateway, target] = process.argv.slice(2)
const load = packagesOf(modules)

const { createHeliaLight } = await load('helia')
const { withHTTP } = await load('@helia/http')
const { unixfs } = await load('@helia/unixfs')
const { CID } = await load('multiformats/cid')

const helia = await withHTTP(createHeliaLight(), {
  delegatedRouters: [], recursiveGateways: [gateway], allowInsecure: true, allowLocal: true
}).start()
// Without a second router Helia waits for ever.
helia.routing.routers?.push({ async * findProviders () {} })
const [cid, ...path] = target.split('/')
for await (const piece of unixfs(helia).cat(CID.parse(cid), path.length ? { path: path.join('/') } : {})) {
  if (!process.stdout.write(piece)) await new Promise((resolve) => process.stdout.once('drain', resolve))
}
process.stdout.end(() => process.exit(0))
