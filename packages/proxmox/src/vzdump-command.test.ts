import { expect, it } from 'vitest';
import { readJobCommand, splitShellWords } from './vzdump-command.ts';

it('takes words as the shell would', () => {
  expect(splitShellWords(`104 --notes-template 'it'\\''s {{guestname}}' --x "a \\" b" plain`)).toEqual([
    '104',
    '--notes-template',
    "it's {{guestname}}",
    '--x',
    'a " b',
    'plain',
  ]);
});

it('knows a job over all guests, and one without a mode', () => {
  expect(readJobCommand('INFO: starting new backup job: vzdump --all 1 --storage vault')).toMatchObject({
    vmids: [],
    all: true,
    storage: 'vault',
    requestedMode: null,
  });
});

it('survives quotes that never end', () => {
  expect(readJobCommand("INFO: starting new backup job: vzdump 104 --notes-template 'open")?.vmids).toEqual([104]);
});
