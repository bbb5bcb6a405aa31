const missing = "–";

function percent(value, digits = 1) {
  return value === null || value === undefined ? missing : (100 * value).toFixed(digits) + " %";
}

function points(value) {
  return value === null || value === undefined ? missing : (value > 0 ? "+" : value < 0 ? "−" : "±") + Math.abs(100 * value).toFixed(1);
}

function number(value, digits = 2) {
  return value === null || value === undefined ? missing : value.toFixed(digits);
}

function count(value) {
  if (value === null || value === undefined) return missing;
  if (value >= 1e6) return (value / 1e6).toFixed(value >= 1e7 ? 0 : 1) + "M";
  if (value >= 1e4) return (value / 1e3).toFixed(value >= 1e5 ? 0 : 1) + "k";
  return value >= 100 || Number.isInteger(value) ? Math.round(value).toLocaleString("en") : value.toFixed(1);
}

function duration(seconds) {
  if (seconds === null || seconds === undefined) return missing;
  if (seconds < 60) return seconds.toFixed(seconds < 10 ? 2 : 1) + " s";
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? minutes + " min " + Math.round(seconds % 60) + " s" : (minutes / 60).toFixed(1) + " h";
}

function chance(p) {
  return p === null || p === undefined ? missing : p < 0.001 ? "< 0.001" : p.toFixed(3);
}

function significance(p) {
  return "p " + (p < 0.001 ? "" : "= ") + chance(p);
}

function clip(text, length) {
  const letters = [...text];
  return letters.length > length ? letters.slice(0, length - 1).join("") + "…" : text;
}
