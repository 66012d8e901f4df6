// The whole module in the place of the newest @types/node's. Nothing here runs: it compiles, or lint fails.

type Corral = typeof import('corral');
type Node = typeof import('node:cluster');

export const corralForNode = (corral: Corral): Node => corral;
