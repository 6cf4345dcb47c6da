import { bundleApps } from './bundle.ts';

/** The end-to-end tests run the built programs: they are built before the first one, so that no stale one can lie. */
export async function setup(): Promise<void> {
  await bundleApps();
}
