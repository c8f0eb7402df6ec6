/** The walrus-rust crate, by the program in bench/store/walrus, built once into the cache. */
import { readFile, mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { orLeftOut } from '../measurement.js'
import { cached, execute, ROOT, system } from '../tools.js'

const FOLDER = path.join(ROOT, 'bench/store/walrus')
let built: Promise<string> | undefined

/** `options` as the program's --name value. Rejects with `LeftOut` where it cannot be built, and where it fails. */
export async function walrus (command: 'write' | 'fill' | 'read' | 'recover', dataDir: string, options: Readonly<Record<string, string | number>> = {}): Promise<Record<string, number>> {
  built ??= orLeftOut('walrus-rust cannot be built here', build)
  const program = await built
  const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)])
  const output = await orLeftOut('walrus-rust failed', async () => await execute(program, [command, ...args], { env: { WALRUS_DATA_DIR: dataDir, WALRUS_QUIET: '1' } }))
  return JSON.parse(output.trim().split('\n').at(-1)!) as Record<string, number>
}

async function build (): Promise<string> {
  const names = ['Cargo.toml', 'Cargo.lock', 'src/main.rs']
  const contents = await Promise.all(names.map(async (name) => await readFile(path.join(FOLDER, name), 'utf8')))
  const folder = await cached('walrus', contents, async (target) => {
    await system({ command: 'cargo', package: 'cargo' })
    await mkdir(path.join(target, 'src'))
    for (const [index, name] of names.entries()) if (name !== 'Cargo.lock') await writeFile(path.join(target, name), contents[index]!)
    // The lock file of the tree says "registry" where cargo writes the address of its own; so whichever cargo knows is used.
    await execute('cargo', ['generate-lockfile'], { cwd: target })
    const source = /^source = "(registry\+[^"]+)"$/m.exec(await readFile(path.join(target, 'Cargo.lock'), 'utf8'))![1]!
    await writeFile(path.join(target, 'Cargo.lock'), contents[1]!.replaceAll('source = "registry"', `source = "${source}"`))
    await execute('cargo', ['build', '--release', '--locked', '--quiet'], { cwd: target })
  })
  return path.join(folder, 'target/release/walrus-bench')
}
