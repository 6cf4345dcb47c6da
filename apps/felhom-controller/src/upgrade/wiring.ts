import { join } from 'node:path';
import { fileMarkerStore } from '@felhom/durable/marker-store.ts';
import { acquireRunLock, processStartTime } from '@felhom/durable/run-lock.ts';
import { systemClock } from '@felhom/kernel/clock.ts';
import { systemCommands } from '@felhom/kernel/command-runner.ts';
import { shellGuard } from '../adapters/guard.ts';
import { lockPort } from '../adapters/lock-port.ts';
import { networkProbe } from '../adapters/probe.ts';
import { roomOnDisk } from '../adapters/reserve-room.ts';
import { stackData } from '../adapters/stack-data.ts';
import { stackFiles } from '../adapters/stack-files.ts';
import { systemPort } from '../adapters/system-port.ts';
import { fileMemory, upgradeMachineOf } from '../adapters/upgrade-memory.ts';
import { alertStore } from '../alerts/alert-store.ts';
import type { Config } from '../config.ts';
import { quiesceBounds } from '../config-bounds.ts';
import { findEngineSocket } from '../engine/engine-socket.ts';
import { openStackEngine, type StackEngineApi } from '../engine/stack-engine-api.ts';
import type { OtherDebts } from '../quiesce/other-debts.ts';
import { isStackOwed } from '../quiesce/stack-owed.ts';
import { openRestoreDebts, openSnapshots } from '../volume-snapshots/wiring.ts';
import { debtsFolder, openMarkers, recoverCommandLine } from '../wiring.ts';
import { upgradeDebt, upgradeDebtVersion } from './debt.ts';
import type { Probe, TurnPort, UpgradeDebtPort, UpgradeEvent, UpgradePorts } from './ports.ts';
import type { StackPolicy, UpgradeSettings } from './run.ts';
import { upgradeDebts } from './settle-upgrade.ts';
import { type StackUpgrade, stackUpgrade, upgradeBounds } from './upgrade-config.ts';

export interface OpenUpgrade {
  config: Config;
  configFile: string;
  env: NodeJS.ProcessEnv;
  progress: (event: UpgradeEvent) => void;
}

export interface OpenedUpgrade {
  ports: UpgradePorts;
  settings: UpgradeSettings;
  close: () => Promise<void>;
}

/** Everything that an upgrade touches. @throws Failure `docker_unsupported`. */
export async function openUpgrade({ config, configFile, env, progress }: OpenUpgrade): Promise<OpenedUpgrade> {
  const engine = openStackEngine({ socketPath: await findEngineSocket(env), commands: systemCommands });
  const ports = portsOver(config, engine, {
    guard: shellGuard({ command: recoverCommandLine({ config, configFile }), env }),
    progress,
  });
  return { ports, settings: settingsOf(config), close: async () => await engine.close() };
}

/** What an interrupted upgrade owes, for recovery. */
export async function openUpgradeDebts(
  config: Config,
  env: NodeJS.ProcessEnv,
): Promise<{ debts: OtherDebts; close: () => Promise<void> }> {
  const engine = openStackEngine({ socketPath: await findEngineSocket(env), commands: systemCommands });
  const guard = { start: async () => ({ arm: () => undefined, disarm: () => undefined }) };
  const ports = portsOver(config, engine, { guard, progress: () => undefined });
  return { debts: upgradeDebts(ports, settingsOf(config)), close: async () => await engine.close() };
}

function portsOver(
  config: Config,
  engine: StackEngineApi,
  { guard, progress }: Pick<UpgradePorts, 'guard' | 'progress'>,
): UpgradePorts {
  const { state_dir: stateDir, run_dir: runDir } = config;
  return {
    clock: systemClock,
    engine,
    debts: openUpgradeDebt(stateDir),
    othersOwe: async (stack) =>
      await isStackOwed({ markers: openMarkers(config), otherDebts: [openRestoreDebts(config, engine)] }, stack),
    machine: upgradeMachineOf(stateDir, systemClock),
    memory: fileMemory(stateDir),
    files: { ...stackFiles(engine), ...roomOnDisk(systemCommands) },
    data: stackData(openSnapshots(config, engine)),
    probe: networkProbe,
    alerts: alertStore({ stateDir }),
    lock: lockPort({ runDir, engineId: async () => (await engine.identity()).id }),
    turn: fileTurn(join(runDir, 'upgrades.lock')),
    guard,
    system: systemPort({ clock: systemClock, commands: systemCommands }),
    progress,
  };
}

/** The debt of an upgrade: both copies lie in the folder that the recovery timer looks at. */
function openUpgradeDebt(stateDir: string): UpgradeDebtPort {
  return fileMarkerStore({
    folder: debtsFolder(stateDir),
    name: 'upgrade',
    version: upgradeDebtVersion,
    schema: upgradeDebt,
  });
}

function fileTurn(path: string): TurnPort {
  return {
    take: async () => {
      const startTime = (await processStartTime(process.pid)) ?? '';
      const acquired = await acquireRunLock(path, { pid: process.pid, startTime, purpose: 'upgrade' });
      return acquired.kind === 'busy' ? null : { release: async () => await acquired.lock.release() };
    },
  };
}

function settingsOf(config: Config): UpgradeSettings {
  return {
    bounds: upgradeBounds(config.upgrade),
    quiesce: quiesceBounds(config.bounds),
    policyOf: (stack) => policyOf(config, stack),
    blockFile: config.upgrade.block_file,
  };
}

function policyOf({ stacks }: Config, stack: string): StackPolicy {
  const own: StackUpgrade =
    Object.hasOwn(stacks, stack) && stacks[stack] !== undefined ? stacks[stack].upgrade : stackUpgrade.parse({});
  return {
    policy: own.policy,
    window: own.window ?? null,
    probe: own.probe === undefined ? null : toProbe(own.probe),
    rollbackAfter: own.auto_rollback_after,
  };
}

function toProbe(from: NonNullable<StackUpgrade['probe']>): Probe {
  if ('http' in from) {
    const [low = '200', high = low] = from.status.split('-');
    return { kind: 'http', url: from.http, status: { from: Number(low), to: Number(high) } };
  }
  const colon = from.tcp.lastIndexOf(':');
  return { kind: 'tcp', host: from.tcp.slice(0, colon), port: Number(from.tcp.slice(colon + 1)) };
}
