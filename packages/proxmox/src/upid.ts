import { Failure } from '@felhom/kernel/failure.ts';
import { z } from 'zod';

/** A guest number: PVE allows 100 to 999999999 (GET /nodes/…/lxc/99 answers 400 "does not look like a valid VM ID"). */
export type Vmid = number & { readonly brand: 'Vmid' };

const lowestVmid = 100;
const highestVmid = 999_999_999;

/** `value` as a Vmid, or null where it is none. Text and numbers both come from PVE. */
export function tryVmid(value: unknown): Vmid | null {
  const number = typeof value === 'string' && /^[1-9][0-9]{0,8}$/.test(value) ? Number(value) : value;
  if (typeof number !== 'number' || !Number.isInteger(number)) return null;
  return isVmid(number) ? number : null;
}

function isVmid(value: number): value is Vmid {
  return value >= lowestVmid && value <= highestVmid;
}

/** `value` as a Vmid. Throws `usage` where it is none. */
export function parseVmid(value: unknown): Vmid {
  const vmid = tryVmid(value);
  if (vmid !== null) return vmid;
  throw new Failure('usage', {
    message: `${JSON.stringify(value)} is not a VMID; nothing was changed`,
    hint: `A VMID is a whole number from ${lowestVmid} to ${highestVmid}; "pct list" and "qm list" show them.`,
  });
}

export const vmidSchema = z.union([z.number(), z.string()]).transform((value, context) => {
  const vmid = tryVmid(value);
  if (vmid !== null) return vmid;
  context.addIssue({ code: 'custom', message: 'not a VMID' });
  return z.NEVER;
});

/** A task id, as PVE writes it: `UPID:node:pid:pstart:starttime:type:id:user:`. */
export type Upid = string & { readonly brand: 'Upid' };

/** What a UPID says (pve-common, src/PVE/UPID.pm). */
export interface UpidParts {
  node: string;
  /** The worker's process id on the node: `$PPID` of a vzdump hook is this number. */
  pid: number;
  /** Clock ticks since the node's boot at which the worker started. */
  pstart: number;
  /** Seconds since the epoch, on the node's clock. */
  startSeconds: number;
  type: string;
  /** Usually a VMID; empty for a vzdump over several guests; `101@bk` for imgdel. */
  id: string;
  /** `root@pam` or, for a token, `root@pam!name`. */
  user: string;
}

const pattern =
  /^UPID:([A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?):([0-9A-Fa-f]{8,9}):([0-9A-Fa-f]{8,9}):([0-9A-Fa-f]{8}):([^:\s]+):([^:\s]*):([^:\s]+):$/;

/** What `text` says as a UPID, or null where it is none. */
export function tryParseUpid(text: string): UpidParts | null {
  const match = pattern.exec(text);
  if (match === null) return null;
  const [, node = '', pid = '', pstart = '', start = '', type = '', id = '', user = ''] = match;
  return {
    node,
    pid: Number.parseInt(pid, 16),
    pstart: Number.parseInt(pstart, 16),
    startSeconds: Number.parseInt(start, 16),
    type,
    id,
    user,
  };
}

export function isUpid(text: string): text is Upid {
  return pattern.test(text);
}

/** What a Upid says. Throws `bug` for text that never was one: Upids are checked where they enter. */
export function parseUpid(upid: Upid): UpidParts {
  const parts = tryParseUpid(upid);
  if (parts === null) throw new TypeError(`not a UPID: ${upid}`);
  return parts;
}

/** The text form of `parts`, as PVE writes it: eight upper-case hexadecimal digits a number. */
export function formatUpid(parts: UpidParts): Upid {
  const hex = (value: number): string => value.toString(16).toUpperCase().padStart(8, '0');
  const { node, pid, pstart, startSeconds, type, id, user } = parts;
  const text = `UPID:${node}:${hex(pid)}:${hex(pstart)}:${hex(startSeconds)}:${type}:${id}:${user}:`;
  if (!isUpid(text)) throw new TypeError(`not a UPID: ${text}`);
  return text;
}

/** The guest a task is about, or null for tasks over several guests and for tasks about something else. */
export function upidVmid(upid: Upid): Vmid | null {
  return tryVmid(parseUpid(upid).id.split('@')[0]);
}

export const upidSchema = z.string().refine(isUpid, 'not a UPID');
