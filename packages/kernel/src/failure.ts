import { type InspectOptions, inspect } from 'node:util';
import { redact } from './redact.ts';

/**
 * Every way in which a command of ours can end other than well: one row a meaning.
 * `exit` is the process's exit code (docs/architecture.md, "Exit codes"); `retry` says whether
 * the same call may succeed later without anybody changing anything.
 */
export const failures = {
  bug: { exit: 1, retry: false },
  usage: { exit: 2, retry: false },
  config_invalid: { exit: 2, retry: false },
  config_missing: { exit: 2, retry: false },
  state_newer: { exit: 2, retry: false },
  state_unreadable: { exit: 3, retry: false },
  state_unwritable: { exit: 3, retry: true },
  backup_failed: { exit: 3, retry: true },
  operation_failed: { exit: 3, retry: true },
  nothing_stopped: { exit: 3, retry: true },
  no_space: { exit: 3, retry: true },
  snapshot_damaged: { exit: 3, retry: false },
  image_unavailable: { exit: 3, retry: true },
  upgrade_failed: { exit: 3, retry: true },
  rolled_back: { exit: 3, retry: false },
  not_rolled_back: { exit: 3, retry: false },
  drift: { exit: 4, retry: false },
  below_policy: { exit: 5, retry: true },
  attention: { exit: 6, retry: false },
  agent_unreachable: { exit: 10, retry: true },
  agent_misbehaves: { exit: 10, retry: true },
  serve_absent: { exit: 10, retry: true },
  docker_unreachable: { exit: 10, retry: true },
  docker_unsupported: { exit: 10, retry: false },
  pve_unreachable: { exit: 10, retry: true },
  pve_misbehaves: { exit: 10, retry: true },
  desired_unavailable: { exit: 10, retry: true },
  tls_identity: { exit: 12, retry: false },
  busy: { exit: 11, retry: true },
  refused: { exit: 12, retry: false },
  unauthorized: { exit: 12, retry: false },
  unknown_guest: { exit: 12, retry: false },
  not_found: { exit: 12, retry: false },
  mode_downgrade: { exit: 13, retry: false },
  policy_refused: { exit: 13, retry: false },
  snapshot_impossible: { exit: 13, retry: false },
  stack_running: { exit: 13, retry: true },
  upgrade_blocked: { exit: 13, retry: false },
  held_back: { exit: 13, retry: false },
  restored_copy: { exit: 13, retry: false },
  identity_conflict: { exit: 13, retry: false },
  apps_down: { exit: 20, retry: true },
  interrupted: { exit: 130, retry: false },
  terminated: { exit: 143, retry: false },
} as const satisfies Record<string, { exit: number; retry: boolean }>;

export type FailureCode = keyof typeof failures;

/** What a failure says besides its code. */
export interface FailureText {
  /** What happened, and what state the apps are in now. */
  message: string;
  /** What the operator types or does next. */
  hint: string;
  /** A finer name than the code, for machines, where one code has many causes (`expired` of `policy_refused`). */
  reason?: string;
  cause?: unknown;
}

/**
 * The one error class that reaches a person. Message and hint are redacted here, so that text,
 * JSON and logs made from it can never carry a registered secret.
 */
export class Failure extends Error {
  override readonly name = 'Failure';
  readonly code: FailureCode;
  readonly hint: string;
  readonly reason: string | null;

  constructor(code: FailureCode, { message, hint, reason, cause }: FailureText) {
    super(redact(message), cause === undefined ? undefined : { cause });
    this.code = code;
    this.hint = redact(hint);
    this.reason = reason ?? null;
  }

  get exit(): number {
    return failures[this.code].exit;
  }

  get retry(): boolean {
    return failures[this.code].retry;
  }

  /** What Node prints of an error that nobody caught: with its cause, which is another's text, and so redacted here. */
  [inspect.custom](_depth: number, options: InspectOptions): string {
    return redact(inspect(this, { ...options, customInspect: false }));
  }

  /** The wire and `--json` form. */
  toJSON(): { code: FailureCode; reason?: string; message: string; hint: string } {
    const reason = this.reason === null ? {} : { reason: this.reason };
    return { code: this.code, ...reason, message: this.message, hint: this.hint };
  }
}

/** Anything thrown, as a Failure: what is not one already is a bug of ours and says so. */
export function asFailure(error: unknown): Failure {
  if (error instanceof Failure) return error;
  const text = error instanceof Error ? error.message : String(error);
  return new Failure('bug', {
    message: `internal error: ${text}`,
    hint: 'This is a defect. Please report it with the output of the same command under FELHOM_LOG=debug.',
    cause: error,
  });
}

/**
 * The exit code of a run that collected several: 20 wins over all (apps are down), then 130 and
 * 143, then any failure by the order given, then 5 over 0.
 */
export function worstExit(codes: readonly number[]): number {
  for (const exit of [20, 130, 143]) if (codes.includes(exit)) return exit;
  return codes.find((exit) => exit !== 0 && exit !== 5) ?? (codes.includes(5) ? 5 : 0);
}
