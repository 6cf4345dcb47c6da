import { Failure, type FailureCode } from '@felhom/kernel/failure.ts';

/**
 * Every way in which a call to PVE can end other than well. The kinds are told apart by status and
 * text, because PVE answers 500 for nearly everything (an unknown guest, a locked one, a stale digest).
 */
export type PveFault =
  /** 401: the token is wrong, revoked or expired. Never retried by itself: PVE delays each by 3 s. */
  | { kind: 'auth' }
  /** 403: the token is right and may not do this. */
  | { kind: 'permission' }
  /** 400, with PVE's text per parameter. */
  | { kind: 'parameter'; errors: Readonly<Record<string, string>> }
  /** 501: PVE has no such path or verb (it has no 404 and no 405). */
  | { kind: 'not-implemented' }
  /** The guest's configuration carries a lock: wait, with this reason. */
  | { kind: 'locked'; lock: string }
  /** Another process held the configuration's flock for 10 s. */
  | { kind: 'lock-timeout' }
  /** The digest sent is not the present one: read again, plan again. */
  | { kind: 'stale-digest' }
  /** No such guest, storage, volume, task or node. */
  | { kind: 'not-found' }
  | { kind: 'already-running' }
  | { kind: 'not-running' }
  /** The storage exists and cannot be reached now. */
  | { kind: 'storage-inactive' }
  /** PVE refused for another reason; the text says which. */
  | { kind: 'failed' }
  /** No answer of PVE's own. `unknown`: the request may have taken effect. `not-sent`: it certainly has not. */
  | { kind: 'transport'; outcome: 'not-sent' | 'unknown' }
  /** The certificate is not the pinned one, or no trusted authority vouches for it. Nothing was sent. */
  | { kind: 'tls-identity' }
  /** An answer that PVE does not give: HTML, truncated JSON, another shape, too long. The effect is unknown. */
  | { kind: 'misbehaves' }
  /** The caller's signal ended the call. The effect is unknown. */
  | { kind: 'aborted' };

export type PveFaultKind = PveFault['kind'];

const codes: Readonly<Record<PveFaultKind, FailureCode>> = {
  auth: 'unauthorized',
  permission: 'refused',
  parameter: 'operation_failed',
  'not-implemented': 'pve_misbehaves',
  locked: 'busy',
  'lock-timeout': 'busy',
  'stale-digest': 'operation_failed',
  'not-found': 'not_found',
  'already-running': 'operation_failed',
  'not-running': 'operation_failed',
  'storage-inactive': 'operation_failed',
  failed: 'operation_failed',
  transport: 'pve_unreachable',
  'tls-identity': 'tls_identity',
  misbehaves: 'pve_misbehaves',
  aborted: 'interrupted',
};

const hints: Readonly<Record<PveFaultKind, string>> = {
  auth: 'Check the token file and, on the node, "pveum user token list USER": the token may be wrong, expired or removed.',
  permission:
    'Give the token the named privilege on the named path: "pveum acl modify PATH --tokens TOKEN --roles ROLE".',
  parameter: 'The named parameters do not fit this version of Proxmox VE; "pveversion" on the node tells which it is.',
  'not-implemented':
    'Check pve.url: it must be the address of a Proxmox VE node, port 8006; "pveversion" tells its version.',
  locked:
    'Wait until the task that holds the lock has ended. A lock without a task is removed on the node: "pct unlock VMID" or "qm unlock VMID".',
  'lock-timeout': 'Another task works on the guest: wait for it, then run the command again.',
  'stale-digest': 'Somebody changed the guest meanwhile: run the command again, it reads the configuration anew.',
  'not-found': 'Check VMID, storage and node: "pct list", "qm list" and "pvesm status" on the node show what is there.',
  'already-running': 'Nothing is left to do: the guest runs.',
  'not-running': 'Nothing is left to do: the guest does not run.',
  'storage-inactive': 'Check the storage on the node: "pvesm status". Bring it back, then run the command again.',
  failed: 'The text is Proxmox VE\'s own; the task list of the node and "journalctl -u pvedaemon" tell more.',
  transport:
    'Check that the node is up and pve.url is right: "systemctl status pveproxy pvedaemon" on the node, then try again.',
  'tls-identity':
    'Compare pve.fingerprint with "pvenode cert info" on the node. If its certificate was renewed, enter the new fingerprint.',
  misbehaves: 'Check that pve.url leads to Proxmox VE itself and not to a proxy or another service.',
  aborted: 'Run the command again.',
};

export interface PveErrorText {
  fault: PveFault;
  /** The call, as `PUT /nodes/pve1/lxc/100/config`. */
  call: string;
  /** PVE's text, one line. */
  text: string;
  status?: number | null;
  cause?: unknown;
}

/**
 * The error of a call to PVE: a Failure (so it has a code, a hint and an exit code, and secrets are
 * redacted from it), with the fault for those who decide by it.
 */
export class PveError extends Failure {
  readonly fault: PveFault;
  readonly call: string;
  /** PVE's text alone, one line. */
  readonly text: string;
  /** The HTTP status, or null without an answer. */
  readonly status: number | null;

  constructor({ fault, call, text, status = null, cause }: PveErrorText) {
    super(codes[fault.kind], {
      message: `${call}: ${text}${consequence(call, fault)}`,
      hint: hints[fault.kind],
      ...(cause === undefined ? {} : { cause }),
    });
    this.fault = fault;
    this.call = call;
    this.text = text;
    this.status = status;
  }

  /** Whether the request may have taken effect although we have an error in hand. */
  get outcomeUnknown(): boolean {
    const { fault } = this;
    return (
      fault.kind === 'misbehaves' ||
      fault.kind === 'aborted' ||
      (fault.kind === 'transport' && fault.outcome === 'unknown')
    );
  }
}

/** Says of a call that changes something whether it may have. */
function consequence(call: string, fault: PveFault): string {
  if (call.startsWith('GET ')) return '';
  const unknown =
    fault.kind === 'misbehaves' ||
    fault.kind === 'aborted' ||
    (fault.kind === 'transport' && fault.outcome === 'unknown');
  return unknown ? ' (whether it took effect is not known)' : ' (nothing was changed)';
}

/** Whether `error` is a PveError of one of `kinds`. */
export function isPveFault(error: unknown, ...kinds: readonly PveFaultKind[]): error is PveError {
  return error instanceof PveError && kinds.includes(error.fault.kind);
}
