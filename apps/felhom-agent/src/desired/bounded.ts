import type { Clock } from '@felhom/kernel/clock.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import type { DesiredProvider } from './provider.ts';

/**
 * The filesystem of a cluster is a process of its own, and a read of it may hang for as long as that does.
 * Nobody waits for it longer than `patienceMs`, and no second read is begun beside one that hangs: each would
 * keep one of the few threads by which this whole process reads and writes its files.
 * Its `read` throws Failure `desired_unavailable` too: what is declared is not known then, and nothing is done.
 */
export function boundedProvider(
  provider: DesiredProvider,
  { place, patienceMs, clock }: { place: string; patienceMs: number; clock: Pick<Clock, 'sleep'> },
): DesiredProvider {
  let underWay = false;
  return {
    read: async () => {
      if (underWay) throw hangs(place, 'an earlier read of it still hangs');
      underWay = true;
      const reading = provider.read().finally(() => {
        underWay = false;
      });
      const enough = new AbortController();
      const late = clock.sleep(patienceMs, enough.signal).then(() => null);
      try {
        const desired = await Promise.race([reading, late]);
        if (desired !== null) return desired;
        // Nobody hears what becomes of it any more.
        reading.catch(() => undefined);
        throw hangs(place, `it could not be read within ${patienceMs / 1000} s`);
      } finally {
        enough.abort();
      }
    },
  };
}

function hangs(place: string, why: string): Failure {
  return new Failure('desired_unavailable', {
    message: `what is declared of the guests in ${place} is not known: ${why}; guests stay as they are`,
    hint: `Look at the filesystem: ls ${place}; on a node of a cluster: systemctl status pve-cluster`,
  });
}
