import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { findProcesses } from './find-processes.ts';
import type { Lab } from './lab.ts';
import { controllerProgram } from './programs.ts';
import { waitUntil } from './wait-until.ts';

/** A controller on a terminal of its own, leader of its session, as a person has it after a login. */
export interface Terminal {
  /** All that was ever drawn on it. */
  drawn(): string;
  /** Types, as on a keyboard: `\u0003` is Ctrl-C. */
  type(text: string): void;
  /**
   * Takes the terminal away as a lost connection does: its other end is closed, and the kernel hangs up whoever sits at it
   * (SIGHUP to the session's leader and to the foreground group, EIO for who writes on).
   */
  close(): Promise<void>;
  hasEnded(): boolean;
}

let opened = 0;

/** Starts `felhom-controller` at a new terminal; ended with the lab. */
export function openTerminal(lab: Lab, args: readonly string[]): Terminal {
  opened += 1;
  const [file, config] = [
    join(lab.folder, 'logs', `terminal-${opened}.log`),
    join(lab.guest, 'etc/felhom/controller.yaml'),
  ];
  const command = `exec ${[controllerProgram, ...args, '--config', config].join(' ')}`;
  const holder = spawn('script', ['--quiet', '--flush', '--command', command, file], {
    env: lab.guestEnvironment(),
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  });
  // Whoever types at a terminal that is gone is not heard.
  holder.stdin.on('error', () => undefined);
  const ended = once(holder, 'exit');
  return {
    drawn: () => (existsSync(file) ? readFileSync(file, 'utf8') : ''),
    type: (text) => void holder.stdin.write(text),
    close: async () => {
      holder.kill('SIGKILL');
      await ended;
    },
    hasEnded: () =>
      findProcesses((words) => words.includes(config) && args.every((arg) => words.includes(arg))).length === 0,
  };
}

/** Waits until `text` has been drawn, as a whole line of progress. */
export async function waitUntilDrawn(terminal: Terminal, text: string): Promise<void> {
  const line = new RegExp(`\\u001B\\[K[-|/\\\\] (?:\\S+: )?${text}(?=[\\r\\u001B]|$)`);
  await waitUntil(`the terminal shows "${text}"`, () => line.test(terminal.drawn()), { everyMs: 2 });
}
