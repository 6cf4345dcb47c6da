import { stackEngineOver, upgradeEngineWorld } from '../simulation/upgrade-engine.ts';
import { virtualClock } from '../simulation/virtual-clock.ts';
import { stackEngineContract } from './stack-contract.ts';

stackEngineContract('the engine of upgrades in memory', async () => {
  const clock = virtualClock();
  const world = upgradeEngineWorld(clock);
  world.images.set('sha256:1', { id: 'sha256:1', schema: null });
  world.tags.set('contract:1', 'sha256:1');
  return await Promise.resolve({
    engine: stackEngineOver(world, async (_, work) => await work()),
    image: 'contract:1',
    prefix: 'contract-',
    run: async (name) => await Promise.resolve(world.fake.add({ name, imageId: 'sha256:1' })),
    settle: async (work) => await clock.run(work),
    close: async () => await Promise.resolve(),
  });
});
