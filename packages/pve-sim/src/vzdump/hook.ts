import { accessSync, constants, statSync } from 'node:fs';
import { runProgram } from './programs.ts';

export type HookPhase =
  | 'job-init'
  | 'job-start'
  | 'job-end'
  | 'job-abort'
  | 'backup-start'
  | 'backup-end'
  | 'backup-abort'
  | 'log-end'
  | 'pre-stop'
  | 'pre-restart'
  | 'post-restart';

/** What a hook is told about the guest at hand; `null` fields are left out of its environment. */
export interface HookGuest {
  mode: string;
  vmid: number;
  vmtype: string | null;
  hostname: string | null;
  target: string | null;
  logfile: string | null;
}

export interface HookCall {
  script: string;
  phase: HookPhase;
  storage: string;
  /** Null for storage that has no dump folder (pbs). */
  dumpdir: string | null;
  guest: HookGuest | null;
  line: (text: string) => void;
  signal?: AbortSignal;
}

/**
 * Calls the hook as vzdump does: the phase, then mode and VMID for a guest; an environment of
 * exactly STOREID, DUMPDIR, VMTYPE, HOSTNAME, TARGET, LOGFILE (no PATH). The caller is the worker
 * itself, so that the hook's parent is the process in the task's UPID.
 */
export async function callHook(call: HookCall): Promise<void> {
  checkScript(call.script);
  const args = [call.phase, ...(call.guest === null ? [] : [call.guest.mode, String(call.guest.vmid)])];
  const env: Record<string, string> = { STOREID: call.storage };
  const add = (name: string, value: string | null | undefined): void => {
    if (value !== null && value !== undefined && value !== '') env[name] = value;
  };
  add('DUMPDIR', call.dumpdir);
  add('VMTYPE', call.guest?.vmtype);
  add('HOSTNAME', call.guest?.hostname);
  add('TARGET', call.guest?.target);
  add('LOGFILE', call.guest?.logfile);
  await runProgram(call.script, args, {
    env,
    line: call.line,
    ...(call.signal === undefined ? {} : { signal: call.signal }),
  });
}

function checkScript(script: string): void {
  if (statSync(script, { throwIfNoEntry: false })?.isFile() !== true) {
    throw new Error(`Error: The hook script '${script}' does not exist.`);
  }
  try {
    accessSync(script, constants.X_OK);
  } catch {
    throw new Error(`Error: The hook script '${script}' is not executable.`);
  }
}
