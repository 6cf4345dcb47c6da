import { Failure } from '@felhom/kernel/failure.ts';
import { z } from 'zod';
import type { ExecAnswer } from './engine.ts';
import { type EngineHttp, errorText } from './engine-http.ts';

const created = z.object({ Id: z.string() });
const ended = z.object({ Running: z.boolean(), ExitCode: z.number().nullish() });
const keptBytes = 16 * 1024;

/**
 * `docker exec` by the API: `sh -c COMMAND`, output kept up to 16 KiB. The engine has no way to end
 * an exec: when the bound passes it is left running and the exit code is null.
 */
export async function execInContainer(
  http: EngineHttp,
  id: string,
  command: string,
  boundMs: number,
): Promise<ExecAnswer> {
  const made = await http.call({
    method: 'POST',
    path: `/containers/${encodeURIComponent(id)}/exec`,
    body: { AttachStdout: true, AttachStderr: true, Cmd: ['sh', '-c', command] },
    boundMs: 10_000,
  });
  const parsed = created.safeParse(made.body);
  if (made.status !== 201 || !parsed.success) {
    throw new Failure('operation_failed', {
      message: `docker cannot run a command in ${id.slice(0, 12)}: ${errorText(made)}`,
      hint: 'Look at the before_stop and after_start commands of the controller configuration.',
    });
  }
  const output = await runAttached(http, parsed.data.Id, boundMs);
  const look = await http.call({ method: 'GET', path: `/exec/${parsed.data.Id}/json`, boundMs: 10_000 });
  const state = ended.safeParse(look.body);
  const exitCode = state.success && !state.data.Running ? (state.data.ExitCode ?? null) : null;
  return { exitCode, output };
}

async function runAttached(http: EngineHttp, execId: string, boundMs: number): Promise<string> {
  const limit = AbortSignal.timeout(boundMs);
  const parts: Uint8Array[] = [];
  let size = 0;
  try {
    const stream = await http.open(
      { method: 'POST', path: `/exec/${execId}/start`, body: { Detach: false, Tty: false }, boundMs },
      limit,
    );
    for await (const part of stream.body) {
      size += part.byteLength;
      if (size <= keptBytes) parts.push(part);
    }
  } catch (error) {
    if (!limit.aborted) throw error;
  }
  return demultiplex(Buffer.concat(parts));
}

/** Output without a terminal comes in frames: one byte of stream, three of zero, four of length. */
function demultiplex(raw: Buffer): string {
  let text = '';
  let at = 0;
  while (at + 8 <= raw.length) {
    const length = raw.readUInt32BE(at + 4);
    text += raw.subarray(at + 8, at + 8 + length).toString('utf8');
    at += 8 + length;
  }
  return text;
}
