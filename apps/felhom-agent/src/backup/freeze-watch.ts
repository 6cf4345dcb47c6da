import { type Driver, mustGet, text } from './driver.ts';
import { isTerminal } from './job.ts';
import type { GuestLog } from './ports.ts';
import { stopOwnTask } from './stop-task.ts';

/**
 * A frozen guest can do nothing for itself: no process in it runs, our controller neither. A freeze
 * past `max_freeze` with a silent controller is ended from here, step by step: our own task (PVE thaws
 * in its clean-up), the root helper's unfreeze, the loudest alert.
 */
export function freezeWatch(driver: Driver, jobId: string): { look(log: GuestLog): Promise<void> } {
  let frozenSinceMs: number | null = null;
  let steps = 0;
  return {
    look: async (log) => {
      const job = mustGet(driver, jobId);
      const now = driver.clock.monotonicMs();
      if (job.phase === 'queued' || job.phase === 'ready' || !log.freezing || log.proof !== null || log.end !== null) {
        if (steps > 0) driver.ports.alerts.clear(`freeze:${job.vmid}`);
        frozenSinceMs = null;
        steps = 0;
        return;
      }
      frozenSinceMs ??= now;
      const { max_freeze: bound } = driver.config.bounds;
      const heard = driver.lastRequestMs(job.vmid);
      const silent = heard === null || now - heard >= bound;
      if (!silent || now - frozenSinceMs < bound * (steps + 1)) return;
      steps += 1;
      await thaw(driver, jobId, steps);
    },
  };
}

async function thaw(driver: Driver, jobId: string, step: number): Promise<void> {
  const job = mustGet(driver, jobId);
  driver.log('the guest is frozen for too long', { vmid: job.vmid, step });
  if (step === 1 && job.origin !== 'pve' && job.upid !== null && !isTerminal(job))
    return await stopOwnTask(driver, job);
  const thawed = await driver.ports.helper.unfreeze(job.vmid).catch((error: unknown) => {
    driver.log('unfreeze failed', { vmid: job.vmid, error: text(error) });
    return false;
  });
  if (thawed) return;
  driver.ports.alerts.raise({
    key: `freeze:${job.vmid}`,
    vmid: job.vmid,
    message: `guest ${job.vmid} is frozen by a snapshot that does not end: its apps are down`,
    hint: `lxc-unfreeze -n ${job.vmid}`,
  });
}
