import type { Dispatcher } from 'undici';

/** An answer that was read to its end. */
export interface WholeAnswer {
  status: number;
  /** The reason phrase, in which PVE puts the first line of its error text. */
  reason: string;
  contentType: string;
  /** The header `Date`; empty where there is none. */
  date: string;
  body: string;
}

export interface ExchangeBounds {
  /** From now to the answer's last byte, connecting included. */
  limitMs: number;
  maxBodyBytes: number;
  /** The caller's wish to end it. */
  signal: AbortSignal | undefined;
}

/** The answer did not come within its time. */
export class DeadlinePassed extends Error {
  constructor(limitMs: number) {
    super(`no answer within ${limitMs / 1000} s`);
  }
}

/** More was sent than is read; `status` is the answer's. */
export class BodyTooLong extends Error {
  readonly status: number;
  constructor(status: number, maxBytes: number) {
    super(`the answer is longer than ${maxBytes} bytes`);
    this.status = status;
  }
}

/** The caller ended it. */
export class EndedByCaller extends Error {}

/**
 * One request and its whole answer. Below undici's streams, because a stream for each answer costs as much as the request
 * itself, and a pass over a node makes one for every guest. Rejects with one of the errors above or what broke the connection.
 */
export function exchange(
  dispatcher: Dispatcher,
  request: Dispatcher.DispatchOptions,
  { limitMs, maxBodyBytes, signal }: ExchangeBounds,
): Promise<WholeAnswer> {
  return new Promise((resolve, reject) => {
    let controller: Dispatcher.DispatchController | null = null;
    let isOver = false;
    const settle = (): boolean => {
      if (isOver) return false;
      isOver = true;
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      return true;
    };
    const giveUp = (why: Error): void => {
      if (!settle()) return;
      reject(why);
      controller?.abort(why);
    };
    const onAbort = (): void => giveUp(new EndedByCaller('ended before the answer came'));
    const timer = setTimeout(() => giveUp(new DeadlinePassed(limitMs)), limitMs);
    signal?.addEventListener('abort', onAbort, { once: true });
    const answer: WholeAnswer = { status: 0, reason: '', contentType: '', date: '', body: '' };
    const chunks: Buffer[] = [];
    let bytes = 0;
    if (signal?.aborted === true) return onAbort();
    dispatcher.dispatch(request, {
      onRequestStart: (started) => {
        controller = started;
        // Given up while it waited for a connection: not one byte of it is sent.
        if (isOver) started.abort(new Error('given up before it was sent'));
      },
      onResponseStart: (_, status, headers, reason) => {
        // 103 and the like come before the answer.
        if (status < 200) return;
        answer.status = status;
        answer.reason = reason ?? '';
        answer.contentType = single(headers['content-type']);
        answer.date = single(headers['date']);
        if (Number(single(headers['content-length'])) > maxBodyBytes) giveUp(new BodyTooLong(status, maxBodyBytes));
      },
      onResponseData: (_, chunk) => {
        bytes += chunk.length;
        if (bytes > maxBodyBytes) giveUp(new BodyTooLong(answer.status, maxBodyBytes));
        else chunks.push(chunk);
      },
      onResponseEnd: () => {
        if (!settle()) return;
        answer.body = (chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks)).toString(
          'utf8',
        );
        resolve(answer);
      },
      onResponseError: (_, error) => giveUp(error),
    });
  });
}

const single = (value: string | string[] | undefined): string =>
  Array.isArray(value) ? (value[0] ?? '') : (value ?? '');
