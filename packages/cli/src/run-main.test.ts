import { Failure, failures } from '@felhom/kernel/failure.ts';
import { forgetSecrets, registerSecret } from '@felhom/kernel/redact.ts';
import { Command } from 'commander';
import { afterEach, describe, expect, it } from 'vitest';
import { openLog } from './log.ts';
import { memoryOutput } from './output.ts';
import { createProgress } from './progress.ts';
import { createReporter } from './reporter.ts';
import { runMain } from './run-main.ts';

async function run(argv: string[], action: () => Promise<void> = async () => {}, exit?: number) {
  const stdout = memoryOutput();
  const stderr = memoryOutput();
  const build = (setExit: (code: number) => void): Command => {
    const program = new Command('tool').option('--json');
    const thing = program.command('thing').description('things');
    thing
      .command('make')
      .argument('<name>')
      .action(async () => {
        if (exit !== undefined) setExit(exit);
        await action();
      });
    return program;
  };
  return { exit: await runMain({ argv, build, stdout, stderr }), stdout: stdout.text(), stderr: stderr.text() };
}

afterEach(forgetSecrets);

describe('the end of a command', () => {
  it('is 0 when nothing was said, and what the command said otherwise', async () => {
    expect(await run(['thing', 'make', 'x'])).toEqual({ exit: 0, stdout: '', stderr: '' });
    expect((await run(['thing', 'make', 'x'], undefined, 5)).exit).toBe(5);
  });

  it('drops the leading -- that pnpm passes through', async () => {
    expect((await run(['--', 'thing', 'make', 'x'])).exit).toBe(0);
  });

  it('is 2 with the usage of the very command when it was used wrongly', async () => {
    const wrong = await run(['thing', 'make']);
    expect(wrong).toEqual({
      exit: 2,
      stdout: '',
      stderr: "error: missing required argument 'name'\n  Usage: tool thing make --help\n",
    });
    expect((await run(['thing', 'mak', 'x'])).stderr).toBe(
      "error: unknown command 'mak'\n  Did you mean make?\n  Usage: tool thing --help\n",
    );
    expect((await run(['thing', 'make', 'x', '--wat'])).exit).toBe(2);
  });

  it('says help on stdout and ends 0', async () => {
    const help = await run(['thing', 'make', '--help']);
    expect(help.exit).toBe(0);
    expect(help.stdout).toContain('Usage: tool thing make');
  });

  it('is the exit code of the row for each failure', async () => {
    for (const [code, row] of Object.entries(failures)) {
      const ended = await run(['thing', 'make', 'x'], () => {
        throw new Failure(code as keyof typeof failures, { message: 'it broke', hint: 'mend it\nthen again' });
      });
      expect(ended).toEqual({ exit: row.exit, stdout: '', stderr: 'error: it broke\n  mend it\n  then again\n' });
    }
  });

  it('is one error object on stdout with --json, for usage errors as well', async () => {
    const failed = await run(['thing', 'make', 'x', '--json'], () => {
      throw new Failure('busy', { message: 'm', hint: 'h' });
    });
    expect(JSON.parse(failed.stdout)).toEqual({
      schema: 'felhom.error/1',
      error: { code: 'busy', message: 'm', hint: 'h' },
    });
    expect(failed.stderr).toBe('');
    expect(JSON.parse((await run(['thing', 'make', '--json'])).stdout)).toMatchObject({ error: { code: 'usage' } });
  });

  it('is 1 for anything else thrown, and says that it is our defect', async () => {
    const broken = await run(['thing', 'make', 'x'], () => {
      throw new TypeError('x is not a function');
    });
    expect(broken.exit).toBe(1);
    expect(broken.stderr).toMatch(/^error: internal error: x is not a function\n {2}This is a defect/);
  });
});

describe('what is printed', () => {
  it('never holds a registered secret, in any form', async () => {
    registerSecret('hunter2-hunter2');
    const out = memoryOutput();
    createReporter({ json: true, stdout: out, stderr: out }).result(
      { schema: 'felhom.x/1', a: 'hunter2-hunter2' },
      () => '',
    );
    createReporter({ json: false, stdout: out, stderr: out }).say('hunter2-hunter2');
    for (const form of ['journal', 'text', 'json'] as const) {
      const log = await openLog({ form, sink: (line) => out.write(line) });
      log.error('hunter2-hunter2', { error: new Error('Bearer hunter2-hunter2'), deep: { it: ['hunter2-hunter2'] } });
    }
    expect(out.text()).not.toContain('hunter2');
  });

  it('is plain lines with priorities under journald, one line an event', async () => {
    const lines: string[] = [];
    const log = await openLog({ form: 'journal', level: 'debug', sink: (line) => lines.push(line) });
    log.debug('a');
    log.info('two\nlines', { stack: 'web', ms: 3 });
    log.warn('c');
    log.error('d', { error: new Error('outer', { cause: new Error('inner') }) });
    log.error('e', { error: new Failure('busy', { message: 'm', hint: 'h' }) });
    expect(lines).toEqual([
      '<7>a\n',
      '<6>two lines stack=web ms=3\n',
      '<4>c\n',
      '<3>d error=outer: inner\n',
      '<3>e error=m\n',
    ]);
  });

  it('carries its priority into the journal, on every line of an error', () => {
    const out = memoryOutput();
    const reporter = createReporter({ json: false, stdout: out, stderr: out, journal: true });
    reporter.say('on the way');
    reporter.failure(new Failure('busy', { message: 'm', hint: 'h' }));
    expect(out.text()).toBe('<5>on the way\n<3>error: m\n<3>  h\n');
    const terminal = memoryOutput({ isTerminal: true });
    createReporter({ json: false, stderr: terminal, journal: true }).say('a person looks');
    expect(terminal.text()).toBe('a person looks\n');
  });

  it('is a result once: an error after it is not a second object', () => {
    const out = memoryOutput();
    const reporter = createReporter({ json: true, stdout: out, stderr: out });
    reporter.result({ schema: 'felhom.x/1' }, () => 'text');
    reporter.failure(new Failure('bug', { message: 'm', hint: 'h' }));
    expect(out.text()).toBe('{"schema":"felhom.x/1"}\n');
  });
});

describe('progress', () => {
  it('is drawn on a terminal, cut to its width, and removed at the end', () => {
    const terminal = memoryOutput({ isTerminal: true, columns: 20 });
    const progress = createProgress(terminal, { interactive: true });
    progress.show('waiting for the host to be ready');
    progress.end();
    progress.end();
    expect(terminal.text()).toBe('\r\u001B[K| waiting for the \r\u001B[K');
  });

  it('is absent where nobody looks, and silent once the terminal is gone', () => {
    const pipe = memoryOutput();
    createProgress(pipe, { interactive: false }).show('x');
    expect(pipe.text()).toBe('');
    const terminal = memoryOutput({ isTerminal: true });
    const gone = new AbortController();
    const progress = createProgress(terminal, { interactive: true, gone: gone.signal });
    gone.abort();
    progress.show('x');
    expect(terminal.text()).toBe('');
  });
});
