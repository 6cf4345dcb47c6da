/** Every benchmark by its name. Each is loaded only when it runs, and answers one JSON value. */
const benches: Readonly<Record<string, () => Promise<unknown>>> = {
  downtime: async () => (await import('./downtime.ts')).measureDowntime(),
  snapshot: async () => (await import('./snapshot.ts')).measureSnapshot(),
  reconcile: async () => (await import('./reconcile.ts')).measureReconcile(),
  startup: async () => (await import('./startup.ts')).measureStartup(),
};

const words = process.argv.slice(2).filter((word) => word !== '--');
const json = words.includes('--json');
const [name, ...rest] = words.filter((word) => word !== '--json');
const bench = name === undefined ? undefined : benches[name];

if (bench === undefined || rest.length > 0) {
  process.stderr.write(`usage: npm run -s bench -- NAME [--json]\nbenchmarks: ${Object.keys(benches).join(', ')}\n`);
  process.exit(2);
}
const result = await bench();
process.stdout.write(`${json ? JSON.stringify(result) : JSON.stringify(result, undefined, 2)}\n`, () =>
  process.exit(0),
);
