import { openLab } from './lab.ts';

const lab = await openLab({});
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
  const show = (e: { code: number | null; stdout: string; stderr: string }) =>
    console.log('exit', e.code, '\n' + e.stdout, '\n--stderr\n' + e.stderr);
  for (const args of (
    process.argv[2] ??
    'status;status --live;stack list;stack show web;backup now --dry-run;backup due;backup now;backup now --json;backup history;backup show;backup status;status --check;recover'
  ).split(';')) {
    console.log('### ', args);
    const t = performance.now();
    show(await lab.inGuest(args.split(' ')));
    console.log((performance.now() - t).toFixed(0) + ' ms');
  }
  show(await lab.onHost('backup', 'status'));
} finally {
  await lab.close();
}
