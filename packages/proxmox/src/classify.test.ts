import { describe, expect, it } from 'vitest';
import { classifyAnswer, classifyText, type FaultyAnswer, firstLine } from './classify.ts';

const answer = (status: number, reason: string, more: Partial<FaultyAnswer> = {}): FaultyAnswer => ({
  status,
  reason,
  contentType: 'application/json;charset=UTF-8',
  bodyIsHtml: false,
  ...more,
});

describe('an answer that is not a success', () => {
  it.each([
    [401, 'No ticket', { kind: 'auth' }],
    [403, 'Permission check failed (/vms/104, VM.Backup)', { kind: 'permission' }],
    [501, "Method 'DELETE /nodes/a/lxc/104/config' not implemented", { kind: 'not-implemented' }],
    [500, 'CT is locked (snapshot-delete)', { kind: 'locked', lock: 'snapshot-delete' }],
    [500, 'VM is locked (backup)', { kind: 'locked', lock: 'backup' }],
    [500, "can't lock file '/run/lock/lxc/pve-config-104.lock' - got timeout", { kind: 'lock-timeout' }],
    [500, 'detected modified configuration - file changed by other user? Try again.', { kind: 'stale-digest' }],
    [500, 'CT 104 already running', { kind: 'already-running' }],
    [500, 'VM 104 not running', { kind: 'not-running' }],
    [500, "Configuration file 'nodes/a/qemu-server/104.conf' does not exist", { kind: 'not-found' }],
    [500, "storage 'nas' does not exist", { kind: 'not-found' }],
    [500, "volume_size_info on 'nas:backup/x' failed - no format", { kind: 'not-found' }],
    [500, "unable to activate storage 'nas' - directory '/mnt/nas' does not exist", { kind: 'storage-inactive' }],
    [500, 'no options specified', { kind: 'failed' }],
    [595, 'Connection refused', { kind: 'transport', outcome: 'not-sent' }],
    [595, 'No route to host', { kind: 'transport', outcome: 'unknown' }],
    [596, 'Broken pipe', { kind: 'transport', outcome: 'unknown' }],
    [599, 'Too many redirections', { kind: 'transport', outcome: 'unknown' }],
    [503, 'Service Unavailable', { kind: 'transport', outcome: 'unknown' }],
    [301, 'Moved Permanently', { kind: 'misbehaves' }],
  ] as const)('%i %s', (status, reason, fault) => {
    expect(classifyAnswer(answer(status, reason)).fault).toEqual(fault);
  });

  it('is read from the reason phrase of an older node and from the message of a newer one', () => {
    expect(classifyAnswer(answer(500, 'CT is locked (backup)')).text).toBe('CT is locked (backup)');
    const cut = answer(500, 'CT is locked', { message: 'CT is locked (backup)\n' });
    expect(classifyAnswer(cut)).toEqual({ fault: { kind: 'locked', lock: 'backup' }, text: 'CT is locked (backup)' });
  });

  it('names every parameter with its first line', () => {
    const errors = { 'prune-backups': 'invalid format - format error\nmore\n', vmid: 'property is missing' };
    const { fault, text } = classifyAnswer(answer(400, 'Parameter verification failed.', { errors }));
    expect(text).toBe(
      'Parameter verification failed. (prune-backups: invalid format - format error; vmid: property is missing)',
    );
    expect(fault).toMatchObject({ kind: 'parameter', errors: { vmid: 'property is missing' } });
  });

  it('knows that a task that never was is not a wrong parameter', () => {
    const wrong = answer(400, 'Parameter verification failed.', { errors: { upid: 'no such task' } });
    expect(classifyAnswer(wrong).fault).toEqual({ kind: 'not-found' });
  });

  it('has a text in every case', () => {
    expect(classifyAnswer(answer(500, '')).text).toBe('status 500');
  });
});

describe('texts', () => {
  it('means the same in a task as in an answer', () => {
    expect(classifyText('CT is locked (backup)')).toEqual({ kind: 'locked', lock: 'backup' });
    const twice = "could not activate storage 'nas': storage 'nas' does not exist";
    expect(classifyText(twice)).toEqual({ kind: 'not-found' });
    expect(classifyText("could not activate storage 'nas': storage 'nas' is not online")).toEqual({
      kind: 'storage-inactive',
    });
    expect(classifyText('snapshot feature is not available')).toEqual({ kind: 'failed' });
  });

  it('keeps one line, without what could steer a terminal', () => {
    expect(firstLine('\n\n  a\u001b[31m red \u0007line\r\nsecond')).toBe('a [31m red  line');
  });
});
