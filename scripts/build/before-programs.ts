import { bundleApps } from './bundle.ts';

/** Tests that run the built programs find them built before the first one starts, so that no stale one can lie. */
export async function setup(): Promise<void> {
  await bundleApps();
}
