/** Why a run was asked to end: the reason of the AbortSignal that `watchSignals` hands out. */
export class Interruption extends Error {
  override readonly name = 'Interruption';
  readonly signal: 'SIGINT' | 'SIGTERM';

  constructor(signal: 'SIGINT' | 'SIGTERM') {
    super(signal === 'SIGINT' ? 'interrupted from the keyboard' : 'asked to end by SIGTERM');
    this.signal = signal;
  }
}

export interface SignalWatch {
  /** Aborts with an `Interruption` at the first SIGINT or SIGTERM. */
  readonly stop: AbortSignal;
  /** Aborts at SIGHUP: the terminal is gone. Only the display ends. */
  readonly displayGone: AbortSignal;
  /** Gives the signals back to Node. */
  dispose(): void;
}

/**
 * Turns signals into abort signals. A second SIGINT or SIGTERM is taken and ignored (`onRepeat` may
 * say so): whoever presses Ctrl-C twice must not leave the apps down.
 */
export function watchSignals({ onRepeat }: { onRepeat?: () => void } = {}): SignalWatch {
  const stop = new AbortController();
  const display = new AbortController();
  const end = (signal: 'SIGINT' | 'SIGTERM') => (): void => {
    if (stop.signal.aborted) onRepeat?.();
    else stop.abort(new Interruption(signal));
  };
  const listeners = { SIGINT: end('SIGINT'), SIGTERM: end('SIGTERM'), SIGHUP: () => display.abort() };
  const entries = Object.entries(listeners);
  for (const [signal, listener] of entries) process.on(signal, listener);
  return {
    stop: stop.signal,
    displayGone: display.signal,
    dispose: () => {
      for (const [signal, listener] of entries) process.off(signal, listener);
    },
  };
}
