import { z } from 'zod';
import type { EngineEvent, EngineEvents } from './engine.ts';

/** One line of `GET /events`: container events carry `Action`, `Actor` and a time in nanoseconds. */
const eventLine = z.object({
  Type: z.string().optional(),
  Action: z.string(),
  Actor: z.object({ ID: z.string(), Attributes: z.record(z.string(), z.string()).optional() }),
  timeNano: z.number(),
});

/**
 * Reads a stream of events in the background from the moment it is made. A line that cannot be
 * read breaks the stream as surely as a lost connection: evidence with a hole is none.
 */
export function followEvents(body: AsyncIterable<Uint8Array>, connection: AbortController): EngineEvents {
  const seen: EngineEvent[] = [];
  const waiting = new Set<() => void>();
  let broken: string | null = null;
  let closed = false;
  const wake = (): void => {
    for (const each of [...waiting]) each();
  };
  const read = async (): Promise<void> => {
    const decoder = new TextDecoder();
    let rest = '';
    for await (const part of body) {
      const lines = (rest + decoder.decode(part, { stream: true })).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) if (line.trim() !== '') seen.push(toEvent(line));
      wake();
    }
  };
  void read().then(
    () => end('the engine closed the event stream'),
    (error: unknown) => end(`the event stream broke (${error instanceof Error ? error.message : String(error)})`),
  );
  function end(why: string): void {
    if (!closed) broken ??= why;
    closed = true;
    wake();
  }
  return {
    seen: () => seen,
    broken: () => broken,
    close: () => {
      closed = true;
      connection.abort();
      wake();
    },
    next: async (match, signal) => {
      let from = 0;
      while (!signal.aborted) {
        const found = seen.slice(from).find(match);
        if (found !== undefined) return found;
        from = seen.length;
        if (closed) return null;
        await oneWake(waiting, signal);
      }
      return null;
    },
  };
}

function toEvent(line: string): EngineEvent {
  const event = eventLine.parse(JSON.parse(line));
  return {
    containerId: event.Actor.ID,
    name: event.Actor.Attributes?.['name'] ?? event.Actor.ID,
    action: event.Action,
    timeMs: event.timeNano / 1e6,
  };
}

function oneWake(waiting: Set<() => void>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      waiting.delete(done);
      signal.removeEventListener('abort', done);
      resolve();
    };
    waiting.add(done);
    signal.addEventListener('abort', done, { once: true });
  });
}
