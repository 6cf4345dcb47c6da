import { describe, expect, it } from 'vitest';
import { readableFailure, readComplaint } from './failure-text.ts';

const command = `command 'set -o pipefail && tar cpf - ${'--exclude=./tmp/x '.repeat(30)}| zstd >x.tar.dat' failed`;

describe('a failure', () => {
  it('says first what a tool complained about, and leaves the long command out', () => {
    expect(readableFailure(`Backup of VM 104 failed - ${command}: exit code 70`, 'zstd: no space left on device')).toBe(
      'Backup of VM 104 failed - zstd: no space left on device; the command that writes the backup failed: exit code 70',
    );
    expect(readableFailure(`${command}: interrupted by signal`, null)).toBe(
      'the command that writes the backup failed: interrupted by signal',
    );
  });

  it('stays as it is when it is short, or long without a command', () => {
    expect(readableFailure("command '/usr/bin/hook pre-stop' failed: exit code 3", 'x')).toBe(
      "command '/usr/bin/hook pre-stop' failed: exit code 3",
    );
    const long = `There is a limit ${'of many '.repeat(40)}`;
    expect(readableFailure(long, 'x')).toBe(long);
  });
});

it.each([
  [
    'INFO: zstd: error 70 : Write error : No space left on device ',
    'zstd: error 70 : Write error : No space left on device',
  ],
  ['tar: ./x: Cannot open: Permission denied', 'tar: ./x: Cannot open: Permission denied'],
  ['INFO: Error: connection refused', 'Error: connection refused'],
  ['INFO: CT Name: cloud', null],
  ['INFO: Backup job finished with errors', null],
  ['INFO: Failed at 2026-03-02 04:05:09', null],
  ['ERROR: Backup of VM 104 failed - x', null],
  ['TASK ERROR: job errors', null],
])('the complaint in %j is %j', (text, complaint) => {
  expect(readComplaint(text)).toBe(complaint);
});
