// A gateway made of @helia/verified-fetch. Usage: node verified_fetch.mjs NODE_MODULES FILE.car
// Prints its port. Blocks that the CAR file lacks are not found.
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { Readable } from 'node:stream'
import { packagesOf } from './npm_packages.mjs'

const [modules, file] = process.argv.slice(2)
const load = packagesOf(modules)

const { createHeliaLight } = await load('helia')
const { createVerifiedFetchWithHelia } = await load('@helia/verified-fetch')
const { MemoryBlockstore } = await load('blockstore-core')
const { CarReader } = await load('@ipld/car')

for (const event of ['unhandledRejection', 'uncaughtException']) process.on(event, () => {})
const blockstore = new MemoryBlockstore()
const reader = await CarReader.fromBytes(await readFile(file))
for await (const { cid, bytes } of reader.blocks()) await blockstore.put(cid, bytes)
const helia = await createHeliaLight({ blockstore })
const fetched = await createVerifiedFetchWithHelia(helia)
const accepted = { raw: 'application/vnd.ipld.raw', car: 'application/vnd.ipld.car; version=1; order=dfs; dups=y' }

const server = createServer(async (request, response) => {
  const url = new URL(request.url, 'http://localhost')
  const headers = new Headers(Object.entries(request.headers).filter(([name]) => name !== 'host'))
  const format = url.searchParams.get('format')
  if (accepted[format]) headers.set('accept', accepted[format])
  const aborted = new AbortController()
  response.on('close', () => aborted.abort())
  try {
    const answer = await fetched(`ipfs://${url.pathname.slice('/ipfs/'.length)}${url.search}`, {
      session: false, method: request.method, headers, signal: aborted.signal
    })
    const kept = [...answer.headers].filter(([name]) => name !== 'connection' && name !== 'transfer-encoding')
    response.writeHead(answer.status, Object.fromEntries(kept))
    if (answer.body == null) response.end()
    else Readable.fromWeb(answer.body).on('error', () => response.destroy()).pipe(response)
  } catch (error) {
    if (!response.headersSent) response.writeHead(500)
    response.end(String(error.message))
  }
})
server.listen(0, '127.0.0.1', () => console.log(server.address().port))
