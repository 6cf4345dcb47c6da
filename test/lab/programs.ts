import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { must } from './process.ts';
import { holdingTurn } from './turn.ts';

const root = resolve(import.meta.dirname, '../..');

export const repository = root;
export const hookSource = join(root, 'packaging/hook/felhom-vzdump-hook');
export const agentProgram = join(root, 'apps/felhom-agent/dist/felhom-agent.js');
export const controllerProgram = join(root, 'apps/felhom-controller/dist/felhom-controller.js');
const tsx = join(root, 'node_modules/.bin/tsx');

/** What starts a simulator: its sources, or the built program where somebody has made it. */
export function simulatorProgram(): readonly [string, ...string[]] {
  const built = process.env['FELHOM_PVE_SIM_BUILT'];
  if (built !== undefined) return [process.execPath, join(built, 'pve-sim.js')];
  return [tsx, join(root, 'packages/pve-sim/src/main.ts')];
}

let built: Promise<void> | undefined;

/** Builds both programs, once per process; a build with nothing to do takes a moment. */
export async function buildPrograms(): Promise<void> {
  built ??= holdingTurn(join(root, 'node_modules/.felhom-build.lock'), async () => {
    if (process.env['FELHOM_LAB_PREBUILT'] === '1' && existsSync(agentProgram) && existsSync(controllerProgram)) return;
    await must(tsx, [join(root, 'scripts/build.ts')], { cwd: root });
  });
  await built;
}
