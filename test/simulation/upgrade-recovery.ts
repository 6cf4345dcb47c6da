import { Failure } from '@felhom/kernel/failure.ts';
import { type RecoverEnd, recover } from 'felhom-controller/quiesce/recover.ts';
import { upgradeDebts } from 'felhom-controller/upgrade/settle-upgrade.ts';
import type { CrashPoint } from './doom.ts';
import { type Lived, live, type UpgradeWorld } from './upgrade-world.ts';

/** `recover` as the guard, the timer or the boot start it: the one recovery, with the upgrade among its debts. */
export async function simulateUpgradeRecovery(
  world: UpgradeWorld,
  point: CrashPoint | null = null,
): Promise<Lived<RecoverEnd>> {
  return await live(world, point, async (ports) => {
    const store = world.markers.open();
    return await recover(
      {
        clock: ports.clock,
        engine: ports.engine,
        markers: { ...store, readNewer: store.read },
        lock: ports.lock,
        agent: noAgent,
        history: { begin: async () => undefined, end: async () => undefined, unfinished: async () => [] },
        system: { ...ports.system, syncData: async () => undefined, ownContainerId: async () => null },
        otherDebts: [upgradeDebts(ports, world.settings)],
        progress: () => undefined,
      },
      { bounds: world.settings.quiesce, forgive: null, stop: new AbortController().signal },
    );
  });
}

const refuse = async (): Promise<never> => {
  throw new Failure('agent_unreachable', { message: 'an upgrade asks no agent', hint: '' });
};
const noAgent = { start: refuse, status: refuse, quiesced: refuse, cancel: refuse, report: refuse, resumed: refuse };

/** By the guard at once, and by a timer every minute. */
export async function recoverUpgradeUntilSettled(world: UpgradeWorld): Promise<RecoverEnd | null> {
  for (let tries = 0; tries < 5; tries += 1) {
    const { end } = await simulateUpgradeRecovery(world);
    if (end?.outcome === 'nothing' || end?.outcome === 'settled') return end;
    await world.clock.pass(60_000);
  }
  return null;
}
