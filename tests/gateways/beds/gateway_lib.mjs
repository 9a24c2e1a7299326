// A gateway made of @web3-storage/gateway-lib and dagula. Usage: node gateway_lib.mjs NODE_MODULES FILE.car
// Prints its port. Blocks that the CAR file lacks are not found.
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { Readable } from 'node:stream'
import { pathToFileURL } from 'node:url'

const [modules, file] = process.argv.slice(2)
const load = (path) => import(pathToFileURL(`${modules}/${path}`))
const { withContext, withErrorHandler, withParsedIpfsUrl, composeMiddleware } =
  await load('@web3-storage/gateway-lib/src/middleware.js')
const { handleUnixfs, handleBlock, handleCar } = await load('@web3-storage/gateway-lib/src/handlers/index.js')
const { Dagula } = await load('dagula/index.js')
const { CarReader } = await load('@ipld/car/src/index.js')

const blocks = new Map()
const key = (cid) => Buffer.from(cid.multihash.bytes).toString('hex')
const reader = await CarReader.fromBytes(await readFile(file))
for await (const { cid, bytes } of reader.blocks()) blocks.set(key(cid), bytes)
const store = {
  async get (cid) {
    const bytes = blocks.get(key(cid))
    return bytes && { cid, bytes }
  },
  async stat (cid) {
    const bytes = blocks.get(key(cid))
    return bytes && { size: bytes.length }
  },
  async stream (cid, { range } = {}) {
    const bytes = blocks.get(key(cid))
    const [first, last] = range ?? [0]
    const part = bytes?.subarray(first, last === undefined ? bytes.length : last + 1)
    return part && new ReadableStream({
      start (controller) {
        controller.enqueue(part)
        controller.close()
      }
    })
  }
}
const dagula = new Dagula(store)
console.error = () => {}
for (const event of ['unhandledRejection', 'uncaughtException']) process.on(event, () => {})
const handle = composeMiddleware(withContext, withErrorHandler, withParsedIpfsUrl)((request, env, context) => {
  const format = context.searchParams.get('format')
  const handler = format === 'raw' ? handleBlock : format === 'car' ? handleCar : handleUnixfs
  return handler(request, env, context)
})

const server = createServer(async (request, response) => {
  const asked = new Request(new URL(request.url, 'http://127.0.0.1'), {
    method: request.method, headers: Object.entries(request.headers).filter(([name]) => name !== 'host')
  })
  const context = { waitUntil () {}, blocks: dagula, dag: dagula, unixfs: dagula }
  const answer = await handle(asked, {}, context)
  response.writeHead(answer.status, Object.fromEntries(answer.headers))
  if (answer.body == null) response.end()
  else Readable.fromWeb(answer.body).on('error', () => response.destroy()).pipe(response)
})
server.listen(0, '127.0.0.1', () => console.log(server.address().port))
