// The program of the reload bench with Next.js: one route, served by what `next build` makes of it with `output: 'standalone'`.

export const dynamic = 'force-dynamic';

/** How long each answer takes, in milliseconds. */
const TAKES = 20;

export async function GET() {
  await new Promise((resolve) => setTimeout(resolve, TAKES));
  return new Response(`${process.pid}`);
}
