import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { UpgradeResult } from 'felhom-controller/commands/upgrade-result.ts';
import type { Lab } from './lab.ts';
import type { Background, RunEnd } from './process.ts';
import { debtFiles } from './steps.ts';
import { waitUntil } from './wait-until.ts';

/** The bounds of upgrades in tests: everything is over in seconds. */
export const quickUpgrades = {
  stable: '1500ms',
  health_margin: '6s',
  look_every: '100ms',
  retry: '200ms',
  min_free: '1MiB',
};

/** Makes an image in the lab's engine, without a registry: a script on top of another image. */
export async function makeImage(
  lab: Lab,
  tag: string,
  { from = 'felhom/busybox:test', run, files = {} }: { from?: string; run?: string; files?: Record<string, string> },
): Promise<string> {
  const folder = join(lab.folder, 'images', tag.replaceAll(/[^a-z0-9]/g, '-'));
  await mkdir(folder, { recursive: true });
  const all = { ...files, ...(run === undefined ? {} : { 'start-app': run }) };
  for (const [name, text] of Object.entries(all)) await writeFile(join(folder, name), text, { mode: 0o755 });
  const copies = Object.keys(all).map((name) => `COPY ${name} /${name}`);
  const start = run === undefined ? [] : ['ENTRYPOINT ["/bin/sh", "/start-app"]'];
  // One image is another only by what is in it: the label keeps two tags of the same script apart.
  const lines = [`FROM ${from}`, `LABEL felhom.made-as=${tag}`, ...copies, ...start];
  await writeFile(join(folder, 'Dockerfile'), `${lines.join('\n')}\n`);
  await lab.engine.docker('build', '--quiet', '--tag', tag, folder);
  return (await lab.engine.docker('image', 'inspect', '--format', '{{.Id}}', tag)).trim();
}

/** Serves until it is told to end, after it has brought its data to a schema. */
export const serving = (schema: number): string => `trap 'exit 0' TERM
[ -e /data/schema ] || touch /data/made-fresh-by-${schema}
echo ${schema} >/data/schema
echo row >>/data/rows
while :; do sleep 1 & wait $!; done
`;

/** Migrates, and then ends. */
export const failing = (
  schema: number,
  seconds: number,
): string => `[ -e /data/schema ] || touch /data/made-fresh-by-${schema}
echo ${schema} >/data/schema
rm -f /data/rows
sleep ${seconds}
exit 7
`;

/** A stack of one service with data, by the image that it has. */
export function shopOf(image: string, extra = ''): string {
  return `
services:
  app:
    image: ${image}
    restart: unless-stopped
    network_mode: none
    stop_grace_period: 2s
    volumes: ["./data:/data"]
${extra}`;
}

/** Runs `upgrade apply STACK --json` to its end. */
export async function upgradeTo(
  lab: Lab,
  stack: string,
  options: readonly string[] = [],
): Promise<{ code: number | null; result: UpgradeResult; end: RunEnd }> {
  const end = await lab.inGuest(['upgrade', 'apply', stack, '--json', ...options]);
  try {
    const result: UpgradeResult = JSON.parse(end.stdout);
    return { code: end.code, result, end };
  } catch (cause) {
    throw new Error(`upgrade apply ended ${end.code} without JSON:\n${end.stdout}\n${end.stderr}`, { cause });
  }
}

let started = 0;

/** Starts `upgrade apply` and resolves as soon as it has told `step`. */
export async function upgradeToStep(
  lab: Lab,
  stack: string,
  step: string,
  env: Record<string, string> = {},
): Promise<Background> {
  started += 1;
  const controller = lab.startInGuest(`upgrade-${started}`, ['upgrade', 'apply', stack], {
    FELHOM_LOG: 'debug',
    ...env,
  });
  await waitUntilStep(controller, stack, step);
  return controller;
}

/** Resolves as soon as an upgrade has told `step`. */
export async function waitUntilStep(
  controller: Pick<Background, 'output' | 'hasEnded'>,
  stack: string,
  step: string,
): Promise<void> {
  await waitUntil(
    `the upgrade says "${step}"`,
    () => {
      const output = controller.output();
      if (new RegExp(`^\\S+ info +${stack}: ${step}$`, 'm').test(output)) return true;
      if (controller.hasEnded()) throw new Error(`the upgrade was over before it said "${step}":\n${output}`);
      return false;
    },
    { everyMs: 2 },
  );
}

/** What runs, and the data that it runs on. */
export interface StandingStack {
  /** Name of the image by which the container was made. */
  image: string;
  status: string;
  schema: string;
  /** Written before the first upgrade. */
  hasRows: boolean;
  restart: string;
  owed: string[];
}

export async function standingOf(lab: Lab, stack: string): Promise<StandingStack> {
  const format = '{{.Config.Image}} {{.State.Status}} {{.HostConfig.RestartPolicy.Name}}';
  const seen = await lab.engine.tryDocker('inspect', '--format', format, `${stack}-app-1`);
  const [image = 'gone', status = 'gone', restart = ''] = seen.code === 0 ? seen.stdout.trim().split(' ') : [];
  const data = join(lab.guest, 'srv', stack, 'data');
  const read = async (name: string): Promise<string> =>
    (await readFile(join(data, name), 'utf8').catch(() => '')).trim();
  return {
    image,
    status,
    restart,
    schema: await read('schema'),
    hasRows: (await read('rows')).includes('precious'),
    owed: await debtFiles(lab),
  };
}

/** Adds a stack on its first version, healthy, with rows that nobody may lose. `env`: of the controller. */
export async function addShop(
  lab: Lab,
  name: string,
  image: string,
  { extra = '', env = {} }: { extra?: string; env?: Record<string, string> } = {},
): Promise<string> {
  const folder = await lab.addStack(name, shopOf(image, extra), { 'data/rows': 'precious\n' }, { wait: false });
  const schema = join(folder, 'data/schema');
  await waitUntil(`${name} has its data`, async () => (await readFile(schema, 'utf8').catch(() => '')) === '1\n');
  // Whoever looks at a stack keeps its Compose file.
  await lab.inGuest(['upgrade', 'plan', name, '--no-pull'], env);
  return folder;
}

/** As a person does it. */
export async function editShop(lab: Lab, name: string, image: string, extra = ''): Promise<void> {
  await writeFile(join(lab.guest, 'srv', name, 'compose.yaml'), shopOf(image, extra));
}
