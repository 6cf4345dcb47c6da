import type { IncomingMessage } from 'node:http';
import type { HookGate } from '../backup/hook-gate.ts';
import { type Answer, readBody } from './http.ts';

const maxBytes = 64 * 1024;
const phases = new Set([
  'job-init',
  'job-start',
  'job-end',
  'job-abort',
  'backup-start',
  'backup-end',
  'backup-abort',
  'log-end',
  'pre-stop',
  'pre-restart',
  'post-restart',
]);

/**
 * A call of the vzdump hook: `POST /hook/PHASE` or `POST /hook/wait`, form-urlencoded, answered in
 * plain words. An unknown phase is answered `ok`: a newer vzdump must not fail its backups on us.
 */
export async function handleHook(
  hook: HookGate,
  request: IncomingMessage,
  path: string,
  gone: AbortSignal,
): Promise<Answer> {
  const form = new URLSearchParams(await readBody(request, maxBytes));
  const phase = path.slice('/hook/'.length);
  if (phase === 'wait') return text(await hook.wait(form.get('gate') ?? '', gone));
  if (!phases.has(phase)) return text('ok');
  const answer = await hook.call({
    phase,
    mode: form.get('mode'),
    vmid: whole(form.get('vmid')),
    pid: whole(form.get('pid')),
    storage: word(form.get('storeid')),
    vmtype: word(form.get('vmtype')),
    target: word(form.get('target')),
  });
  return text(answer);
}

function text(line: string): Answer {
  return { status: 200, type: 'text', body: `${line.replaceAll(/\s+/g, ' ')}\n` };
}

function whole(value: string | null): number | null {
  return value !== null && /^\d{1,10}$/.test(value) ? Number(value) : null;
}

function word(value: string | null): string | null {
  return value === null || value === '' ? null : value.slice(0, 512);
}
