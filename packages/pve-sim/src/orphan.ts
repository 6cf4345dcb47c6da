import { readFileSync } from 'node:fs';

const pollMs = 200;

/**
 * Calls `onOrphaned` once when the runner that started us (npm and its shell) is gone: a signal to
 * npm does not reach us, and a simulator that nobody holds any more would run for ever.
 */
export function watchRunner(onOrphaned: () => void): void {
  const shell = process.ppid;
  const runner = parentOf(shell);
  const timer = setInterval(() => {
    if (process.ppid === shell && parentOf(shell) === runner) return;
    clearInterval(timer);
    onOrphaned();
  }, pollMs);
  timer.unref();
}

function parentOf(pid: number): number | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[1]);
  } catch {
    return null; // gone
  }
}
