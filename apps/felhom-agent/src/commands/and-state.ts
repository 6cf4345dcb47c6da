import { Failure } from '@felhom/kernel/failure.ts';
import { PveError } from '@felhom/proxmox/errors.ts';

/**
 * Does `work`, which changes nothing unless it could look at the node first. An error of that look tells what Proxmox VE
 * said, and not how things stand now: `state` does, in its message.
 */
export async function andState<T>(state: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof PveError)) throw error;
    throw new Failure(error.code, { message: `${error.message}; ${state}`, hint: error.hint, cause: error });
  }
}
