/** An answer other than success. `text` becomes the reason phrase and, with a line end, the body's `message`. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly status: number;
  readonly errors: Record<string, string> | null;
  /** False: `message` comes without the line end (the server's own texts, as 501). */
  readonly lineEnd: boolean;

  constructor(status: number, text: string, details: { errors?: Record<string, string>; lineEnd?: boolean } = {}) {
    super(text);
    this.status = status;
    this.errors = details.errors ?? null;
    this.lineEnd = details.lineEnd ?? true;
  }
}

export function parameterError(errors: Record<string, string>): ApiError {
  return new ApiError(400, 'Parameter verification failed.', { errors });
}

/** Most failures are a 500 with their text. */
export function failure(text: string): ApiError {
  return new ApiError(500, text);
}

export function forbidden(what: string): ApiError {
  return new ApiError(403, `Permission check failed (${what})`);
}
