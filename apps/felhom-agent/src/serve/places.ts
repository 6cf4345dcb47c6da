import type { Clock } from '@felhom/kernel/clock.ts';
import type { GuestNow, Hypervisor } from '../backup/ports.ts';
import type { AgentConfig } from '../config.ts';

export interface Places {
  now(vmid: number): Promise<GuestNow | null>;
  movedTo(vmid: number): Promise<string | null>;
  refresh(): Promise<void>;
}

interface PlaceOptions {
  pve: Hypervisor;
  clock: Clock;
  config: Pick<AgentConfig, 'bounds'>;
}

/** Where guests are, from lists that are `guest_cache` old at most. A PVE that does not answer moves nobody. */
export function placeFinder({ pve, clock, config }: PlaceOptions, names: Map<number, string>): Places {
  let atMs = Number.NEGATIVE_INFINITY;
  let here = new Map<number, GuestNow>();
  let elsewhere = new Map<number, string | null>();
  let reading: Promise<void> | null = null;
  const refresh = async (): Promise<void> => {
    const list = await pve.guests();
    here = new Map(list.map((guest) => [guest.vmid, guest]));
    for (const guest of list) names.set(guest.vmid, guest.name);
    elsewhere = new Map();
    atMs = clock.monotonicMs();
  };
  const fresh = async (): Promise<void> => {
    if (clock.monotonicMs() - atMs < config.bounds.guest_cache) return;
    reading ??= refresh().finally(() => {
      reading = null;
    });
    await reading;
  };
  return {
    refresh,
    now: async (vmid) => {
      await fresh();
      return here.get(vmid) ?? null;
    },
    movedTo: async (vmid) => {
      try {
        // Known to be here, even some time ago: asking again must not hold up an answer that apps wait for.
        if (here.has(vmid)) {
          void fresh().catch(() => undefined);
          return null;
        }
        await fresh();
        if (here.has(vmid)) return null;
        if (!elsewhere.has(vmid)) elsewhere.set(vmid, await pve.whereIs(vmid));
        const node = elsewhere.get(vmid) ?? null;
        return node === pve.node ? null : node;
      } catch {
        // Unknown is not moved: the call goes on, and says itself what PVE does not tell.
        return null;
      }
    },
  };
}
