import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';
import { simulatorFolder } from './scripts/build/bundle.ts';

// Vitest leaves a core idle by default: on two that is half of the machine.
const simulators = {
  globalSetup: ['scripts/build/before-simulators.ts'],
  env: { FELHOM_PVE_SIM_BUILT: simulatorFolder },
};
// What stands built is not built again by every file that runs it.
const programs = {
  globalSetup: ['scripts/build/before-programs.ts', ...simulators.globalSetup],
  env: { ...simulators.env, FELHOM_LAB_PREBUILT: '1' },
};
const cores = Math.max(2, availableParallelism());

// Groups run one after the other: what measures time or crowds the machine never shares it with the units.
export default defineConfig({
  test: {
    restoreMocks: true,
    unstubEnvs: true,
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: [
            'packages/*/src/**/*.test.ts',
            'apps/*/src/**/*.test.ts',
            'scripts/**/*.test.ts',
            'bench/**/*.test.ts',
          ],
          testTimeout: 30_000,
          hookTimeout: 30_000,
          ...simulators,
          maxWorkers: cores,
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: 'simulation',
          include: ['test/simulation/**/*.test.ts'],
          testTimeout: 600_000,
          hookTimeout: 60_000,
          maxWorkers: cores,
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: {
          name: 'programs',
          include: ['test/*/**/*.test.ts'],
          exclude: ['**/node_modules/**', 'test/simulation/**', 'test/e2e/**'],
          testTimeout: 60_000,
          hookTimeout: 60_000,
          ...programs,
          // Most of their time they wait for a process.
          maxWorkers: cores + 1,
          sequence: { groupOrder: 2 },
        },
      },
      {
        extends: true,
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          ...programs,
          pool: 'forks',
          // One engine serves them all: more at once would only make each other's downtimes long.
          maxWorkers: 2,
          testTimeout: 300_000,
          hookTimeout: 300_000,
          sequence: { groupOrder: 3 },
        },
      },
    ],
  },
});
