import { bundleApps } from './build/bundle.ts';

const changed = await bundleApps();
for (const file of changed) process.stderr.write(`build: ${file}\n`);
if (changed.length === 0) process.stderr.write('build: nothing changed\n');
