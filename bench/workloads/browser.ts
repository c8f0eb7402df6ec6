/** Opens a picture where somebody sits in front of a screen. */
import { spawn } from 'node:child_process'

/** Does nothing where nobody does, and where no program for it is there: the picture's name has been printed. */
export function openInBrowser (file: string): void {
  const command = opener(process.platform, process.env, process.stdout.isTTY)
  if (command !== undefined) spawn(command, [file], { detached: true, stdio: 'ignore' }).on('error', () => {}).unref()
}

/** Not in a script, whose output is no terminal, nor on a machine without a screen. */
export function opener (platform: string, environment: Readonly<Record<string, string | undefined>>, isTerminal: boolean): string | undefined {
  if (!isTerminal) return undefined
  if (platform === 'darwin') return 'open'
  return (environment.DISPLAY ?? environment.WAYLAND_DISPLAY ?? '') === '' ? undefined : 'xdg-open'
}
