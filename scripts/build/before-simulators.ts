import { bundleSimulatorWorker } from './bundle.ts';

/** The simulators of tests start built workers: they are built before the first one, so that no stale one can lie. */
export async function setup(): Promise<void> {
  await bundleSimulatorWorker();
}
