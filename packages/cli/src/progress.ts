import type { Output } from './output.ts';

/** One line that tells what happens now. Drawn on a terminal, absent everywhere else. */
export interface Progress {
  /** Replaces the line. */
  show(text: string): void;
  /** Removes the line for a moment, so that `print` may write a lasting one above it. */
  above(print: () => void): void;
  /** Removes the line for good. Safe to call twice. */
  end(): void;
}

const frames = ['|', '/', '-', '\\'];
const frameMs = 120;

/**
 * Progress on `display`, when a person looks at it. `gone` (a SIGHUP) ends the drawing; the work
 * that it shows never notices.
 */
export function createProgress(
  display: Output,
  { interactive, gone }: { interactive: boolean; gone?: AbortSignal },
): Progress {
  if (!interactive) return { show: () => {}, above: (print) => print(), end: () => {} };
  let text = '';
  let frame = 0;
  let ended = false;
  const draw = (): void => {
    if (ended || text === '') return;
    display.write(
      `\r\u001B[K${frames[frame % frames.length] ?? ''} ${text.slice(0, Math.max(10, display.columns - 4))}`,
    );
  };
  const clear = (): void => {
    if (text !== '') display.write('\r\u001B[K');
  };
  const timer = setInterval(() => {
    frame += 1;
    draw();
  }, frameMs);
  timer.unref();
  const end = (): void => {
    if (ended) return;
    clearInterval(timer);
    if (gone?.aborted !== true) clear();
    ended = true;
  };
  gone?.addEventListener('abort', end, { once: true });
  return {
    show: (next) => {
      text = next.replaceAll(/\s+/g, ' ');
      draw();
    },
    above: (print) => {
      if (!ended) clear();
      print();
      draw();
    },
    end,
  };
}
