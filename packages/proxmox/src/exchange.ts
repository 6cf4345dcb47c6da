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
  bounds: ExchangeBounds,
): Promise<WholeAnswer> {
  return new Promise((resolve, reject) => {
    const reading = new Reading(bounds, resolve, reject);
    if (bounds.signal?.aborted === true) reading.handleEvent();
    else dispatcher.dispatch(request, reading);
  });
}

/** An answer under way. Settles once; whatever comes after that is nobody's. */
class Reading implements Dispatcher.DispatchHandler {
  readonly #bounds: ExchangeBounds;
  readonly #resolve: (answer: WholeAnswer) => void;
  readonly #reject: (why: Error) => void;
  readonly #timer: NodeJS.Timeout;
  readonly #answer: WholeAnswer = { status: 0, reason: '', contentType: '', date: '', body: '' };
  readonly #chunks: Buffer[] = [];
  #bytes = 0;
  #controller: Dispatcher.DispatchController | null = null;
  #isOver = false;

  constructor(bounds: ExchangeBounds, resolve: (answer: WholeAnswer) => void, reject: (why: Error) => void) {
    this.#bounds = bounds;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#timer = setTimeout(onDeadline, bounds.limitMs, this);
    bounds.signal?.addEventListener('abort', this, { once: true });
  }

  /** The caller's signal. */
  handleEvent(): void {
    this.#giveUp(new EndedByCaller('ended before the answer came'));
  }

  onDeadline(): void {
    this.#giveUp(new DeadlinePassed(this.#bounds.limitMs));
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    // Given up while it waited for a connection: not one byte of it is sent.
    if (this.#isOver) controller.abort(new Error('given up before it was sent'));
  }

  onResponseStart(
    _: Dispatcher.DispatchController,
    status: number,
    headers: Record<string, string | string[] | undefined>,
    reason?: string,
  ): void {
    // 103 and the like come before the answer.
    if (status < 200) return;
    const answer = this.#answer;
    answer.status = status;
    answer.reason = reason ?? '';
    answer.contentType = single(headers['content-type']);
    answer.date = single(headers['date']);
    if (Number(single(headers['content-length'])) > this.#bounds.maxBodyBytes) this.#tooLong();
  }

  onResponseData(_: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#bytes += chunk.length;
    if (this.#bytes > this.#bounds.maxBodyBytes) this.#tooLong();
    else this.#chunks.push(chunk);
  }

  onResponseEnd(): void {
    if (!this.#settle()) return;
    const [first, ...more] = this.#chunks;
    this.#answer.body = (first !== undefined && more.length === 0 ? first : Buffer.concat(this.#chunks)).toString(
      'utf8',
    );
    this.#resolve(this.#answer);
  }

  onResponseError(_: Dispatcher.DispatchController, error: Error): void {
    this.#giveUp(error);
  }

  #giveUp(why: Error): void {
    if (!this.#settle()) return;
    this.#reject(why);
    this.#controller?.abort(why);
  }

  #tooLong(): void {
    this.#giveUp(new BodyTooLong(this.#answer.status, this.#bounds.maxBodyBytes));
  }

  #settle(): boolean {
    if (this.#isOver) return false;
    this.#isOver = true;
    clearTimeout(this.#timer);
    this.#bounds.signal?.removeEventListener('abort', this);
    return true;
  }
}

function onDeadline(reading: Reading): void {
  reading.onDeadline();
}

function single(value: string | string[] | undefined): string {
  return Array.isArray(value) ? (value[0] ?? '') : (value ?? '');
}
