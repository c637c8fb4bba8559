// Where POPs without a location stand: near those that they reach fast.

/** Beyond this many, distances between all of them cost more than a picture is worth: they stand on a circle. */
const MOST = 160;
const ROUNDS = 150;
/** The middle of the world and the far end of it differ more in time than a picture has room for. */
const felt = (rtt) => Math.sqrt(rtt + 2);

/** Points for `count` things from round trips [a, b, ms], in a square around 0: stress majorization (de Leeuw 1977;
 *  Gansner, Koren, North 2004) from a circle, so that the same mesh is drawn alike each time. */
export function byRoundTrips(count, trips) {
  const angle = (at) => (2 * Math.PI * at) / count - Math.PI / 2;
  let points = Array.from({ length: count }, (_, at) => [Math.cos(angle(at)), Math.sin(angle(at))]);
  if (count < 3 || count > MOST || trips.length === 0) return points;
  const far = shortest(count, trips);
  for (let round = 0; round < ROUNDS; round += 1) {
    points = points.map((own, i) => {
      let [x, y, weights] = [0, 0, 0];
      points.forEach((other, j) => {
        if (i === j) return;
        const [dx, dy] = [own[0] - other[0], own[1] - other[1]];
        const now = Math.hypot(dx, dy) || 1e-6;
        const weight = 1 / (far[i][j] * far[i][j]);
        x += weight * (other[0] + (far[i][j] * dx) / now);
        y += weight * (other[1] + (far[i][j] * dy) / now);
        weights += weight;
      });
      return [x / weights, y / weights];
    });
  }
  const size = Math.max(...points.flat().map(Math.abs)) || 1;
  return points.map(([x, y]) => [x / size, y / size]);
}

/** What nobody measured is as far as the shortest way over others, or further than all. */
function shortest(count, trips) {
  const far = Array.from({ length: count }, () => new Array(count).fill(Infinity));
  for (const [a, b, rtt] of trips) far[a][b] = far[b][a] = Math.min(far[a][b], felt(rtt));
  for (let k = 0; k < count; k += 1)
    for (let i = 0; i < count; i += 1)
      for (let j = 0; j < count; j += 1) far[i][j] = Math.min(far[i][j], far[i][k] + far[k][j]);
  const known = far.flat().filter(Number.isFinite);
  const longest = Math.max(1, ...known) * 1.2;
  return far.map((row) => row.map((value) => (Number.isFinite(value) ? value : longest)));
}

/** A point among placed ones by round trips to them [point, ms]; nothing without any. */
export function among(trips) {
  let [x, y, weights] = [0, 0, 0];
  for (const [point, rtt] of trips) {
    const weight = 1 / (rtt + 1) ** 2;
    x += point[0] * weight;
    y += point[1] * weight;
    weights += weight;
  }
  return weights ? [x / weights, y / weights] : null;
}
