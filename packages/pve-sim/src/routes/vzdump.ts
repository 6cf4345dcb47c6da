import { require } from '../auth.ts';
import { failure, forbidden, parameterError } from '../http/api-error.ts';
import { flag, integer, list, type ParamSpecs, type Params, stringOf, text } from '../http/parameters.ts';
import type { SimNode } from '../node.ts';
import type { Call, Route } from '../router.ts';
import { parseRetention } from '../storage/retention.ts';
import type { VzdumpJob } from '../vzdump/job.ts';
import { readVzdumpConf, vzdumpDefaults } from '../vzdump/vzdump-options.ts';
import { extractConfig } from './restore.ts';

const params: ParamSpecs = {
  vmid: text,
  all: flag,
  exclude: text,
  pool: text,
  storage: text,
  mode: { type: 'string', oneOf: ['snapshot', 'suspend', 'stop'] },
  compress: { type: 'string', oneOf: ['0', '1', 'gzip', 'lzo', 'zstd'] },
  'notes-template': { type: 'string', maxLength: 1024 },
  protected: flag,
  remove: flag,
  'prune-backups': text,
  lockwait: { type: 'integer', min: 0 },
  stopwait: { type: 'integer', min: 0 },
  stop: flag,
  bwlimit: { type: 'integer', min: 0 },
  ionice: { type: 'integer', min: 0, max: 8 },
  performance: text,
  fleecing: text,
  'exclude-path': list,
  stdexcludes: flag,
  quiet: flag,
  pigz: integer,
  zstd: integer,
  mailto: text,
  mailnotification: text,
  'notification-mode': text,
  script: text,
  dumpdir: text,
  tmpdir: text,
  'job-id': text,
};

/** Starting a backup, its defaults, and the configuration inside a finished one. */
export const vzdumpRoutes: readonly Route[] = [
  { method: 'POST', path: '/nodes/{node}/vzdump', protected: true, params, handle: startVzdump },
  {
    method: 'GET',
    path: '/nodes/{node}/vzdump/defaults',
    protected: false,
    params: { storage: text },
    handle: defaults,
  },
  {
    method: 'GET',
    path: '/nodes/{node}/vzdump/extractconfig',
    protected: true,
    params: { volume: { type: 'string', required: true } },
    handle: extractConfig,
  },
];

async function startVzdump(call: Call): Promise<string> {
  const { node, caller, params: given } = call;
  checkAllowed(call);
  const named = guestsOf(node, given);
  const vmids = named.filter((vmid) => [null, undefined, node.name].includes(node.cluster?.whereIs(vmid)));
  const storage = stringOf(given, 'storage');
  // No task at all for guests that are elsewhere; one that is nowhere fails in the task.
  if (node.faults.take('ok_without_upid') !== null || (named.length > 0 && vmids.length === 0)) return 'OK';
  if (given['stop'] === 1 && vmids.length === 0) return 'OK';
  if (storage !== undefined) require(caller, `/storage/${storage}`, 'Datastore.AllocateSpace');
  const started = Date.now();
  const worker = await node.workers.take();
  const fields = {
    node: node.name,
    pid: worker.mark.pid,
    pstart: worker.mark.startTime,
    starttime: Math.floor(started / 1000),
    type: 'vzdump',
    id: vmids.length === 1 ? String(vmids[0]) : '',
    user: caller.id,
  };
  const { upid } = node.tasks.create(fields, true);
  worker.run(jobOf(call, upid, vmids, started));
  return upid;
}

/** What is refused at once; the rest is found by the task. */
function checkAllowed({ caller, params: given }: Call): void {
  for (const key of ['script', 'dumpdir', 'tmpdir', 'job-id']) {
    if (given[key] !== undefined) throw parameterError({ [key]: 'Only root may set this option.' });
  }
  for (const key of ['bwlimit', 'ionice', 'performance'])
    if (given[key] !== undefined) require(caller, '/', 'Sys.Modify');
  checkParameters(given);
  const prune = stringOf(given, 'prune-backups');
  if (prune !== undefined) require(caller, `/storage/${stringOf(given, 'storage') ?? 'local'}`, 'Datastore.Allocate');
}

function checkParameters(given: Params): void {
  const prune = stringOf(given, 'prune-backups');
  const retention = prune === undefined ? null : parseRetention(prune);
  if (retention?.kind === 'error') throw parameterError({ 'prune-backups': retention.error });
  if (given['vmid'] !== undefined) {
    for (const key of ['all', 'exclude', 'pool']) {
      if (given[key] !== undefined && given[key] !== 0)
        throw parameterError({ [key]: "option conflicts with option 'vmid'" });
    }
    const odd = String(given['vmid'])
      .split(/[,;\s]+/)
      .find((vmid) => !/^[1-9]\d{2,8}$/.test(vmid));
    if (odd !== undefined) throw parameterError({ vmid: 'invalid format - value does not look like a valid VM ID\n' });
  }
  if (String(given['notes-template'] ?? '').includes('\n'))
    throw parameterError({ 'notes-template': 'contains a line feed' });
  if (given['notes-template'] !== undefined && given['storage'] === undefined) {
    throw parameterError({ storage: "missing property - 'notes-template' requires this property" });
  }
  if (given['pool'] !== undefined) throw failure(`pool '${stringOf(given, 'pool')}' does not exist`);
  const some = given['all'] === 1 || given['stop'] === 1 || given['exclude'] !== undefined;
  if (!some && given['vmid'] === undefined) throw parameterError({ vmid: 'property is missing' });
}

function guestsOf(node: SimNode, given: Params): number[] {
  const named = (key: string): number[] =>
    (stringOf(given, key) ?? '')
      .split(/[,;\s]+/)
      .filter((part) => part !== '')
      .map(Number);
  if (given['vmid'] !== undefined) return named('vmid').toSorted((a, b) => a - b);
  if (given['all'] !== 1 && given['exclude'] === undefined) return [];
  const excluded = named('exclude');
  return node.guests
    .list()
    .map((guest) => guest.vmid)
    .filter((vmid) => !excluded.includes(vmid));
}

function jobOf(call: Call, upid: string, vmids: number[], postedAtMs: number): VzdumpJob {
  const { node, caller, params: given } = call;
  return {
    upid,
    state: node.state,
    cluster: node.options.cluster ?? null,
    node: node.name,
    postedAtMs,
    vmids,
    forbidden: vmids.filter((vmid) => node.guests.get(vmid) !== null && !caller.may(`/vms/${vmid}`, 'VM.Backup')),
    all: given['vmid'] === undefined,
    options: given,
    cmdline: commandLine(given, vmids, node.name),
    confFile: node.options.vzdumpConf ?? null,
    storages: [...node.storages],
    delays: node.delays,
  };
}

/** As the first log line repeats the job: values are quoted for a shell. The order of the options is not defined. */
function commandLine(given: Params, vmids: readonly number[], node: string): string {
  const words = ['vzdump', ...(given['vmid'] === undefined ? [] : vmids.map(String))];
  for (const [key, value] of Object.entries({ ...given, node })) {
    if (key === 'vmid') continue;
    for (const one of Array.isArray(value) ? value : [value]) words.push(`--${key}`, shellQuote(one));
  }
  return words.join(' ');
}

/** Words of harmless characters stay as they are; the rest goes in single quotes. */
function shellQuote(word: string): string {
  if (/^[\w!%+,\-./:@^]+$/.test(word)) return word;
  const escaped = word
    .replaceAll("'", "'\\''")
    .replaceAll(/(?:'\\''){2,}/g, (run) => `'"${"'".repeat(run.length / 4)}"'`);
  return `'${escaped}'`.replace(/^''(?=.)/, '').replace(/(?<=.)''$/, '');
}

function defaults({ node, caller, params: given }: Call): Record<string, unknown> {
  const conf = readVzdumpConf(node.options.vzdumpConf ?? null);
  const id = stringOf(given, 'storage') ?? conf['storage'] ?? 'local';
  if (!['Datastore.Audit', 'Datastore.AllocateSpace'].some((privilege) => caller.may(`/storage/${id}`, privilege))) {
    throw forbidden(`/storage/${id}, Datastore.Audit|Datastore.AllocateSpace`);
  }
  const storage = node.storages.find((candidate) => candidate.id === id);
  if (storage === undefined) throw failure(`storage '${id}' does not exist`);
  return {
    ...vzdumpDefaults,
    ...conf,
    storage: id,
    'prune-backups': storage.prune ?? conf['prune-backups'] ?? 'keep-all=1',
    ...(storage.kind === 'pbs' ? {} : { dumpdir: `${storage.dir}/dump` }),
  };
}
