import { silentLog } from '@felhom/cli/log.ts';
import type { MarkerRead } from '@felhom/durable/marker-store.ts';
import type { StateFile } from '@felhom/durable/state-file.ts';
import { createHypervisor } from 'felhom-agent/backup/hypervisor.ts';
import type { JobRecord } from 'felhom-agent/backup/job.ts';
import type { Alerts, JournalPort } from 'felhom-agent/backup/ports.ts';
import { type AgentConfig, agentConfigSchema, type GuestFile, guestFileSchema } from 'felhom-agent/config.ts';
import type { Lane } from 'felhom-agent/lanes/lanes.ts';
import { type AgentApp, type AgentAppOptions, createAgentApp } from 'felhom-agent/serve/app.ts';
import { hashToken } from 'felhom-agent/serve/auth.ts';
import { type GuestsFile, openGuestsState } from 'felhom-agent/serve/guests-state.ts';
import { doomed } from './agent-doom.ts';
import type { AgentScenario } from './agent-scenario.ts';
import type { AgentWorld } from './agent-world.ts';
import type { Doom } from './doom.ts';

const bounds = { min_interval: '0s', storage_cache: '0s', guest_cache: '0s', owed_retry: '1s', resume_hold: '2s' };
const writeMs = 3;

/** The token of guest 101. */
export const simulatedToken = 'fh_simulated';
const tokenHash = hashToken(simulatedToken);

/** A wrong agent: what a test does to the ports of every life, so that an invariant breaks. */
export type Mutation = (options: AgentAppOptions) => AgentAppOptions;

/** The agent of one life, over what the world keeps: every effect of its own may be its last. */
export async function openApp(world: AgentWorld, life: Doom, stop: AbortSignal): Promise<AgentApp> {
  const { clock, scenario } = world;
  const { config, guest } = configured(scenario);
  const options: AgentAppOptions = {
    config,
    guestFiles: new Map([[101, guest]]),
    pve: doomed(createHypervisor(world.node.client), life, (what) => world.note(what)),
    journal: journal(world, life),
    records: structuredClone(world.records),
    lanes: {
      tryGuest: async (vmid) => await lane(world, life, `guest-${vmid}`),
      trySlot: async () => await lane(world, life, 'slot'),
    },
    helper: { unfreeze: async () => await life.effect('helper.unfreeze', async () => false) },
    alerts: alerts(world, life),
    guests: await openGuestsState(guestsState(world, life), () => [{ vmid: 101, sha256: tokenHash }]),
    clock: {
      nowMs: clock.nowMs,
      monotonicMs: clock.monotonicMs,
      sleep: async (ms, signal) => {
        await clock.sleep(ms, signal);
        if (life.isDead()) await new Promise(() => undefined);
      },
    },
    newId: () => {
      world.ids += 1;
      return `job-${world.ids}`;
    },
    hostBootId: world.bootId,
    gateKind: () => scenario.gate,
    stop,
    log: (message, fields) => silentLog.info(message, fields),
  };
  return createAgentApp(world.mutate(options));
}

const kept = new WeakMap<AgentScenario, { config: AgentConfig; guest: GuestFile }>();

function configured(scenario: AgentScenario): { config: AgentConfig; guest: GuestFile } {
  const known = kept.get(scenario);
  if (known !== undefined) return known;
  const config = agentConfigSchema.parse({
    pve: { url: 'https://127.0.0.1:8006', token_file: '/nowhere' },
    gate: scenario.gate,
    preflight: { headroom: '1B' },
    bounds: { ...bounds, ...scenario.bounds },
  });
  const guest = guestFileSchema.parse({
    vmid: 101,
    token_sha256: tokenHash,
    backup: [{ storage: 'bk', every: '1d', ...scenario.policy }],
  });
  kept.set(scenario, { config, guest });
  return { config, guest };
}

function journal(world: AgentWorld, life: Doom): JournalPort {
  return {
    append: async (record) =>
      await life.effect('journal.append', async () => {
        world.checkLane(record, life);
        // Whoever ends right after it is dead by now, and not before: its record reaches the disk.
        await Promise.resolve();
        const isLast = life.isDead();
        await world.clock.sleep(writeMs);
        // A power cut in the middle of a write takes it along; one right after it does not.
        if (isLast || !life.isDead()) world.records.push(structuredClone<JobRecord>(record));
      }),
  };
}

function guestsState(world: AgentWorld, life: Doom): StateFile<GuestsFile> {
  return {
    read: async (): Promise<MarkerRead<GuestsFile>> =>
      world.guestsFile === null ? { kind: 'absent' } : { kind: 'present', value: structuredClone(world.guestsFile) },
    write: async (value) =>
      await life.effect('guests.write', async () => {
        await world.clock.sleep(writeMs);
        world.guestsFile = structuredClone(value);
      }),
    remove: async () => undefined,
  };
}

async function lane(world: AgentWorld, life: Doom, name: string): Promise<Lane | null> {
  return await life.effect(`lane.${name}`, async () => {
    if (world.lanes.has(name)) return null;
    world.lanes.set(name, life);
    return {
      release: async () =>
        await life.effect('lane.release', async () => {
          if (world.lanes.get(name) === life) world.lanes.delete(name);
        }),
    };
  });
}

/** They cannot wait and must not throw: a dead agent's alerts go nowhere. */
function alerts(world: AgentWorld, life: Doom): Alerts {
  const act = (name: string, work: () => void): void => {
    if (life.isDead()) return;
    try {
      life.effectNow(name, work);
    } catch (error) {
      if (!life.isDead()) throw error;
    }
  };
  return {
    raise: (alert) => act('alerts.raise', () => void world.alerts.set(alert.key, { ...alert, at: 'now' })),
    clear: (key) => {
      if (world.alerts.has(key)) act('alerts.clear', () => void world.alerts.delete(key));
    },
    list: () => [...world.alerts.values()],
  };
}
