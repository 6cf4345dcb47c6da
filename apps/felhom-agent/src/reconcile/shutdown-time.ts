import { PveError } from '@felhom/proxmox/errors.ts';
import type { GuestRef } from '@felhom/proxmox/guests.ts';
import type { ReconcileNode } from './ports.ts';

/**
 * How long a guest has to end by itself before it is ended hard, whole seconds: `shutdownMs`, and longer where its own
 * `startup` gives it longer (`down=600`). PVE goes by that only where it is told no time (QemuServer.pm _do_vm_stop), and for a
 * container not at all: a database that needs ten minutes would be killed in the middle. A configuration that cannot be
 * read gives no more than `shutdownMs`. Throws PveError for a refused token and an ended look.
 */
export async function shutdownSeconds(
  pve: Pick<ReconcileNode, 'guests'>,
  guest: GuestRef,
  { shutdownMs, signal }: { shutdownMs: number; signal: AbortSignal },
): Promise<number> {
  const least = Math.ceil(shutdownMs / 1_000);
  try {
    const { live } = await pve.guests.pending(guest, { signal });
    return Math.max(least, givenBy(live['startup'] ?? ''));
  } catch (error) {
    if (!(error instanceof PveError) || ['auth', 'tls-identity', 'aborted'].includes(error.fault.kind)) throw error;
    return least;
  }
}

function givenBy(startup: string): number {
  const [, digits = '0'] = /(?:^|,)\s*down=(\d{1,9})(?:,|$)/.exec(startup) ?? [];
  return Number(digits);
}
