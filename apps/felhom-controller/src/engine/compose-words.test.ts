import { describe, expect, it } from 'vitest';
import { composeWords } from './compose-words.ts';

const said = (stderr: string): string =>
  composeWords({ exitCode: 1, signal: null, timedOut: false, stdout: '', stderr });

describe('what is told of the words of Compose', () => {
  // As Compose 2.26 prints them.
  it.each([
    ['failed to read /srv/.env: line 3: unterminated quoted value "hunter2\n', 'line 3: unterminated quoted value'],
    ["failed to read /srv/.env: line 1: unterminated quoted value 'hunter2\nERROR=hunter2\n", 'line 1: unterminated'],
    [
      'failed to read /srv/.env: line 1: unexpected character "$" in variable name "hunter2$=x"\n',
      'line 1: unexpected',
    ],
    [
      'invalid interpolation format for services.a.environment.P.\nYou may need to escape any $ with another $.\nhunter2${\n',
      'services.a.environment.P',
    ],
  ])('is where the mistake is, and no value of a file: %j', (stderr, where) => {
    expect(said(stderr)).toContain(where);
    expect(said(stderr)).not.toContain('hunter2');
  });

  it('is the line with the error, or the last one', () => {
    expect(said('warning: x\nError response from daemon: no such image\nbye\n')).toContain('no such image');
    expect(said('one\nservice "a" depends on "b"\n')).toBe('service "a" depends on "b"');
  });
});
