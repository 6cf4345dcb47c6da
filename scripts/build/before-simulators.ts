import { bundleSimulator } from './bundle.ts';

/** The simulators of tests are built programs, and so are their workers: both are built before the first one, so that no stale one can lie. */
export async function setup(): Promise<void> {
  await bundleSimulator();
}
