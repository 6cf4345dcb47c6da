import { z } from 'zod';
import { PveError } from './errors.ts';
import { type CallOptions, type PveHttp, pvePath } from './http.ts';
import { isUpid, type Upid, type Vmid } from './upid.ts';

export type VzdumpMode = 'snapshot' | 'suspend' | 'stop';
export type VzdumpCompression = 'zstd' | 'gzip' | 'lzo' | '0';

export interface VzdumpRequest {
  vmid: Vmid;
  storage: string;
  /** What is asked for; PVE may use another: see `backup mode:` in the log. */
  mode: VzdumpMode;
  /** The notes' first line, repeated in the log's line on the job: `markOf(jobId)`. */
  mark: string;
  /** Default zstd (PVE's own default is no compression). Without meaning on PBS. */
  compress?: VzdumpCompression | undefined;
  /** Minutes to wait for the node's vzdump lock; 0 fails at once. PVE's default is 180. */
  lockwaitMinutes?: number | undefined;
  /** false keeps the storage's retention from being applied after the backup. Default true, as in PVE. */
  remove?: boolean | undefined;
  protected?: boolean | undefined;
}

/** What a POST that starts a backup led to. */
export type VzdumpAnswer =
  | { kind: 'started'; upid: Upid }
  /** The plain answer "OK": the guest lives on another node, no task was started here (API2/VZDump.pm:97). */
  | { kind: 'elsewhere' }
  /** No task was started: PVE refused, or the request was never sent. */
  | { kind: 'refused'; error: PveError }
  /** No answer, or none of PVE's own: a task may have been started. Resolve it by the mark, never post again. */
  | { kind: 'lost'; error: PveError };

export interface PveVzdump {
  /** Starts a backup of one guest. Never throws for what PVE says: the answer tells. */
  start(request: VzdumpRequest, options?: CallOptions): Promise<VzdumpAnswer>;
}

/** The first line of the notes of job `jobId` until its report comes. Vzdump repeats it in the log. */
export function markOf(jobId: string): string {
  return `felhom/1 ${jobId} pending`;
}

/** The vzdump of `node`. */
export function pveVzdump(http: PveHttp, node: string): PveVzdump {
  return {
    start: async (request, options = {}) => {
      const call = {
        method: 'POST',
        path: pvePath`/nodes/${node}/vzdump`,
        params: startParams(request),
        schema: z.string(),
      } as const;
      try {
        const { data } = await http.call({ ...call, ...options });
        if (isUpid(data)) return { kind: 'started', upid: data };
        if (data === 'OK') return { kind: 'elsewhere' };
        const text = 'the answer is neither a UPID nor "OK"';
        return {
          kind: 'lost',
          error: new PveError({ fault: { kind: 'misbehaves' }, call: `POST ${call.path}`, text, status: 200 }),
        };
      } catch (error) {
        if (!(error instanceof PveError)) throw error;
        return { kind: error.outcomeUnknown ? 'lost' : 'refused', error };
      }
    },
  };
}

function startParams(request: VzdumpRequest): Record<string, string | number | boolean | undefined> {
  return {
    vmid: request.vmid,
    storage: request.storage,
    mode: request.mode,
    compress: request.compress ?? 'zstd',
    'notes-template': escapeNotesTemplate(request.mark),
    lockwait: request.lockwaitMinutes,
    remove: request.remove,
    protected: request.protected,
  };
}

/** A template's own signs taken literally: a backslash doubled, a line break as `\n` (VZDump.pm, generate_notes). */
function escapeNotesTemplate(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
}
