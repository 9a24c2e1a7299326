// Loads packages that were installed elsewhere: import() looks beside a script only.
import { readFile } from 'node:fs/promises'
import { pathToFileURL } from 'node:url'

// Returns a function that loads a package, or a path in it, of a node_modules directory by its name.
export function packagesOf (modules) {
  // The entry is read from its package.json.
  async function entry (name) {
    const [, pack, rest] = /^((?:@[^/]+\/)?[^/]+)(?:\/(.*))?$/.exec(name)
    const { exports, main } = JSON.parse(await readFile(`${modules}/${pack}/package.json`))
    const found = exports?.[rest ? `./${rest}` : '.'] ?? exports ?? main
    const path = typeof found === 'string' ? found : (found.import ?? found.default)
    return `${modules}/${pack}/${typeof path === 'string' ? path : path.default}`
  }

  return async (name) => import(pathToFileURL(await entry(name)))
}
