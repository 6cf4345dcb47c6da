import { join } from 'node:path';
import type { Log } from '@felhom/cli/log.ts';
import { fileMarkerStore } from '@felhom/durable/marker-store.ts';
import type { AgentApi } from '@felhom/guest-api/agent-api.ts';
import { type Clock, systemClock } from '@felhom/kernel/clock.ts';
import type { Config } from './config.ts';
import type { EngineApi } from './engine/engine-api.ts';
import { fileHistory } from './history/history.ts';
import { marker, markerVersion } from './quiesce/marker.ts';
import type { OtherDebts } from './quiesce/other-debts.ts';
import type { MarkerPort, RecoverPorts, RunPorts, SystemPort } from './quiesce/ports.ts';
import type { ReconcilePorts } from './stacks/reconcile.ts';

/*
 * The one place that builds what touches the world. What loads undici, execa or pino is imported
 * here when it is built, so that a command that only reads state never pays for it.
 */

/** The marker of the quiesce cycle: both copies lie in the folder that the recovery timer looks at. */
export function openMarkers({ state_dir }: Pick<Config, 'state_dir'>): MarkerPort {
  const storeOf = (version: number) =>
    fileMarkerStore({ folder: debtsFolder(state_dir), name: 'quiesce', version, schema: marker });
  const store = storeOf(markerVersion);
  return { ...store, readNewer: async (version) => await storeOf(version).read() };
}

/** Every debt lies here: recovery has nothing to do while it is empty. */
export function debtsFolder(stateDir: string): string {
  return join(stateDir, 'debts');
}

export function openHistory({ state_dir, history }: Config): ReturnType<typeof fileHistory> {
  return fileHistory({ stateDir: state_dir, keep: history });
}

/** @throws Failure `docker_unsupported` when DOCKER_HOST names anything but a unix socket. */
export async function openEngine(env: NodeJS.ProcessEnv): Promise<EngineApi> {
  const [{ openEngineApi }, { findEngineSocket }, { systemCommands }] = await Promise.all([
    import('./engine/engine-api.ts'),
    import('./engine/engine-socket.ts'),
    import('@felhom/kernel/command-runner.ts'),
  ]);
  return openEngineApi({ socketPath: await findEngineSocket(env), commands: systemCommands });
}

/** The guest's own system: its boot, its shutdown, what we run in ourselves. */
export async function openSystem(): Promise<SystemPort> {
  const [{ systemPort }, { systemCommands }] = await Promise.all([
    import('./adapters/system-port.ts'),
    import('@felhom/kernel/command-runner.ts'),
  ]);
  return systemPort({ clock: systemClock, commands: systemCommands });
}

/** @throws Failure `config_missing` and `config_invalid` for the token's file and the agents. */
export async function openAgent(config: Config, warn: (text: string) => void): Promise<AgentApi> {
  const [{ createAgentClient }, { readSecretFile }, { fileGeneration }, { rememberingRefusals }, system] =
    await Promise.all([
      import('@felhom/guest-api/client.ts'),
      import('@felhom/cli/secret-file.ts'),
      import('./adapters/generation-file.ts'),
      import('./adapters/refusal-file.ts'),
      import('./adapters/system-port.ts'),
    ]);
  const { state_dir: stateDir, run_dir: runDir, bounds } = config;
  const api = createAgentClient({
    agents: config.agents,
    token: await readSecretFile(config.token_file, "this guest's token"),
    generation: fileGeneration({ stateDir, runDir, clock: systemClock, warn }),
    bootId: await system.readBootId(),
    bootStarted: await system.readBootStart(),
    timeouts: { connectMs: bounds.agent_connect, answerMs: bounds.agent_answer },
  });
  return rememberingRefusals(api, { stateDir, clock: systemClock });
}

/** Waits as time passes. */
export const clock: Clock = systemClock;

export interface RunRequest {
  config: Config;
  configFile: string;
  env: NodeJS.ProcessEnv;
  log: Log;
  progress: RunPorts['progress'];
}

/** Ports, and what closes what was opened for them. */
export interface Opened<P> {
  ports: P;
  close: () => Promise<void>;
}

/** Everything that a backup run touches. */
export async function openRun(request: RunRequest): Promise<Opened<RunPorts> & { agent: AgentApi }> {
  const agent = await openAgent(request.config, (text) => request.log.warn(text));
  const { ports, close } = await openGuarded({ ...request, agent });
  return { ports, agent, close: async () => void (await Promise.all([close(), agent.close()])) };
}

/** The same for a run that asks no host: the marker, the guard, the engine. */
export async function openLocalRun(request: RunRequest): Promise<Opened<RunPorts> & { engine: EngineApi }> {
  const { noAgent } = await import('./adapters/no-agent.ts');
  return await openGuarded({ ...request, agent: noAgent('this run needs none') });
}

async function openGuarded(
  request: RunRequest & { agent: AgentApi },
): Promise<Opened<RunPorts> & { engine: EngineApi }> {
  const [{ shellGuard }, opened] = await Promise.all([import('./adapters/guard.ts'), openRecover(request)]);
  const guard = shellGuard({ command: recoverCommandLine(request), env: request.env });
  return { ...opened, ports: { ...opened.ports, guard } };
}

/** Everything that recovery touches. The agent is the caller's, who closes it: it may have more to ask. */
export async function openRecover({
  config,
  env,
  progress,
  agent,
}: RunRequest & { agent: AgentApi }): Promise<Opened<RecoverPorts> & { engine: EngineApi }> {
  const [{ lockPort }, { openRestoreDebts }, { openUpgradeDebts }, system, engine] = await Promise.all([
    import('./adapters/lock-port.ts'),
    import('./volume-snapshots/wiring.ts'),
    import('./upgrade/wiring.ts'),
    openSystem(),
    openEngine(env),
  ]);
  const markers = openMarkers(config);
  // A restore that was cut off comes first: nobody may build on data that is half exchanged.
  const upgrades = await openUpgradeDebts(config, env);
  const otherDebts = [openRestoreDebts(config, engine), upgrades.debts];
  const ports: RecoverPorts = {
    clock: systemClock,
    engine,
    markers,
    lock: lockPort({ runDir: config.run_dir, engineId: async () => await engineIdFor(engine, markers, otherDebts) }),
    agent,
    history: openHistory(config),
    system,
    otherDebts,
    progress,
  };
  const close = async (): Promise<void> => {
    await Promise.all([engine.close(), upgrades.close()]);
  };
  return { ports, engine, close };
}

/** Everything that a pass of reconcile touches. */
export async function openReconcile(request: RunRequest & { agent: AgentApi }): Promise<Opened<ReconcilePorts>> {
  const [{ ports, close }, { systemdUnits }, { systemCommands }, { readHolds }, { fileMemory }, { readInitBoot }] =
    await Promise.all([
      openRecover(request),
      import('./adapters/systemd-units.ts'),
      import('@felhom/kernel/command-runner.ts'),
      import('./stacks/holds.ts'),
      import('./stacks/memory.ts'),
      import('./adapters/system-port.ts'),
    ]);
  const { config } = request;
  const holds = async (): Promise<Map<string, string>> =>
    new Map(
      Object.entries(await readHolds(config.state_dir)).map(([stack, { reason }]) => [stack, reason ?? 'by hand']),
    );
  return {
    ports: {
      ...ports,
      units: systemdUnits({ commands: systemCommands, unitDir: config.unit_dir }),
      memory: fileMemory(config.state_dir),
      boot: readInitBoot,
      holds,
    },
    close,
  };
}

/** The engine's id; while it does not answer, the id that a debt holds, so that recovery can take its lock and wait. */
async function engineIdFor(engine: EngineApi, markers: MarkerPort, otherDebts: readonly OtherDebts[]): Promise<string> {
  try {
    return (await engine.identity()).id;
  } catch (error) {
    const owed = await markers.read();
    if (owed.kind === 'present') return owed.value.engine_id;
    const others = await Promise.all(otherDebts.map(async (debts) => await debts.owed()));
    const known = others.find((other) => other?.engineId != null);
    if (known?.engineId != null) return known.engineId;
    throw error;
  }
}

/** Our own program as the guard starts it: absolute paths, the same configuration, the same state. */
export function recoverCommandLine({ config, configFile }: Pick<RunRequest, 'config' | 'configFile'>): string[] {
  const script = process.argv[1] ?? '';
  return [
    process.execPath,
    ...process.execArgv,
    script,
    'recover',
    '--config',
    configFile,
    '--state-dir',
    config.state_dir,
  ];
}
