import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openLab } from './lab.ts';

const lab = await openLab({
  controller: { bounds: { watch_poll: '5s', agent_silence: '3s', watch_backoff: '200ms' } },
} as any);
const show = (e: { code: number | null; stdout: string; stderr: string }) =>
  console.log('exit', e.code, '\n' + e.stdout, '\n--stderr\n' + e.stderr);
const g = async (line: string, env?: Record<string, string>) => {
  console.log('### ', line);
  const t = performance.now();
  const e = await lab.inGuest(line.split(' '), env);
  show(e);
  console.log((performance.now() - t).toFixed(0) + ' ms');
  return e;
};
const h = async (line: string) => {
  console.log('### HOST', line);
  const e = await lab.onHost(...line.split(' '));
  show(e);
  return e;
};
try {
  await lab.addStack(
    'web',
    `services:
  app:
    image: felhom/busybox:test
    command: ["sh","-c","trap 'exit 0' TERM; while :; do sleep 1 & wait; done"]
    stop_grace_period: 3s
    volumes: ["data:/data"]
    depends_on: [db]
  db:
    image: felhom/busybox:test
    command: ["sh","-c","trap 'exit 0' TERM; while :; do sleep 1 & wait; done"]
    volumes: ["data:/data"]
volumes: { data: {} }
`,
  );
  const cfg = join(lab.guest, 'etc/felhom/controller.yaml');
  const orig = readFileSync(cfg, 'utf8');
  for (const step of (process.argv[2] ?? '').split(',')) {
    if (step === 'watch') {
      const w = lab.startInGuest('watch', ['backup', 'watch']);
      await new Promise((r) => setTimeout(r, 2500));
      await h('backup now 101');
      await h('backup now --all --json');
      await g('backup now --json');
      console.log('WATCH', w.output());
      process.kill(w.pid!, 'SIGTERM');
      await new Promise((r) => setTimeout(r, 800));
      console.log('ended', w.hasEnded());
      console.log('WATCH', w.output());
    }
    if (step === 'once') {
      await g('backup watch --once');
      await g('backup watch --once --json');
    }
    if (step === 'nowait') {
      await g('backup now --no-wait --json');
      await g('backup status');
      await g('status');
      await g('recover');
      await g('backup history');
      await g('status');
    }
    if (step === 'token') {
      const tf = /token_file: (.*)/.exec(orig)![1]!;
      const good = readFileSync(tf, 'utf8');
      writeFileSync(tf, 'wrong-token-wrong-token\n');
      await g('backup now');
      await g('status --check');
      await g('status --live');
      chmodSync(tf, 0o644);
      await g('backup now');
      chmodSync(tf, 0o600);
      writeFileSync(tf, good);
      await g('backup now');
      await g('status --check');
    }
    if (step === 'down') {
      await lab.agent().stop();
      await g('backup now');
      await g('backup due');
      await g('status --live');
      await g('backup watch --once');
      await lab.startAgent();
    }
    if (step === 'bad') {
      writeFileSync(cfg, orig + 'stats: 1\nbounds: { max_quiese: 1m }\n');
      await g('backup now');
      await g('config check');
      await g('recover');
      await g('status --check');
      writeFileSync(cfg, orig);
      await g('backup now --storage nope');
      await g('backup status nojob');
      await g('backup show nope');
      await g('stack show nope');
      await g('backup now', { DOCKER_HOST: 'tcp://127.0.0.1:1' });
      await g('backup now', { DOCKER_HOST: 'unix:///nowhere.sock' });
    }
    if (step === 'finger') {
      writeFileSync(cfg, orig.replace(/fingerprint: .*/, 'fingerprint: "' + 'AB:'.repeat(31) + 'AB"'));
      await g('backup now');
      await g('status --check');
      writeFileSync(cfg, orig);
    }
    if (step === 'html') {
      const { createServer } = await import('node:https');
      const { execFileSync } = await import('node:child_process');
      const { X509Certificate } = await import('node:crypto');
      execFileSync(
        'openssl',
        [
          'req',
          '-x509',
          '-newkey',
          'ec',
          '-pkeyopt',
          'ec_paramgen_curve:prime256v1',
          '-keyout',
          lab.folder + '/k',
          '-out',
          lab.folder + '/c',
          '-days',
          '2',
          '-nodes',
          '-subj',
          '/CN=x',
        ],
        { stdio: 'ignore' },
      );
      const c = readFileSync(lab.folder + '/c', 'utf8');
      const s = createServer({ key: readFileSync(lab.folder + '/k'), cert: c }, (_q, r) =>
        r.writeHead(200, { 'content-type': 'text/html' }).end('<html>hi</html>'),
      );
      await new Promise<void>((r) => s.listen(0, '127.0.0.1', r));
      const port = (s.address() as any).port;
      writeFileSync(
        cfg,
        orig
          .replace(/url: .*/, 'url: https://127.0.0.1:' + port)
          .replace(/fingerprint: .*/, 'fingerprint: "' + new X509Certificate(c).fingerprint256 + '"'),
      );
      await g('backup now');
      await g('backup due --json');
      writeFileSync(cfg, orig);
      s.close();
      s.closeAllConnections();
    }
  }
} finally {
  await lab.close();
}
