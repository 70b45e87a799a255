"""Pictures of two dimensions against recomputation on coordinates, exact cases and isometries."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ham.geometry import lorentz, poincare
from ham.geometry.projection import LONGEST, project_to_disk, project_to_plane


def hyperboloid(num_points: int, dim: int, spread: float = 1.0, seed: int = 0) -> Tensor:
    """Space components of points of curvature -1 whose directions differ in how far they reach."""
    generator = torch.Generator().manual_seed(seed)
    steps = spread * 0.8 ** torch.arange(dim, dtype=torch.float64)
    return lorentz.expmap0(torch.randn(num_points, dim, generator=generator).double() * steps, curvature=1.0)


def all_distances(x: Tensor, y: Tensor | None = None, curvature: float = 1.0) -> Tensor:
    """Row by row, from the direct difference."""
    y = x if y is None else y
    return torch.stack([lorentz.distance(row.expand_as(y), y, curvature=curvature) for row in x])


def disk_distances(z: Tensor) -> Tensor:
    return torch.stack([poincare.distance(row.expand_as(z), z, curvature=1.0) for row in z])


def residual(x: Tensor, basis: Tensor) -> float:
    """Mean sinh^2 of the distance from a plane that ``basis`` (3 x (D + 1)), orthonormal in Lorentz's sense, spans."""
    full = torch.cat([lorentz.time(x, curvature=1.0), x], dim=1)
    metric = torch.ones(full.shape[1]).double()
    metric[0] = -1.0
    coordinates = full * metric @ basis.T
    return float((coordinates[:, 0] ** 2 - coordinates[:, 1:].square().sum(dim=1) - 1).mean())


@pytest.mark.parametrize("curvature", [0.3, 1.0, 4.0])
def test_points_of_a_plane_keep_their_distances(curvature: float) -> None:
    plane = torch.linalg.qr(torch.randn(6, 2, generator=torch.Generator().manual_seed(1)).double()).Q
    x = hyperboloid(12, 2, 1.3) @ plane.T / math.sqrt(curvature)
    distances = all_distances(x, curvature=curvature)
    found = project_to_disk(distances, curvature=curvature)
    assert found.explained == pytest.approx(1.0)
    torch.testing.assert_close(disk_distances(found.points), distances * math.sqrt(curvature), atol=1e-6, rtol=1e-6)


def test_explained_share_is_that_of_the_coordinates() -> None:
    x = hyperboloid(30, 5)
    full = torch.cat([lorentz.time(x, curvature=1.0), x], dim=1)
    metric = torch.diag(torch.tensor([-1.0] + [1.0] * 5).double())
    values = torch.linalg.eigvals(full.T @ full @ metric).real.sort().values  # the J-eigenvalues of the second moment
    expected = values[-2:].sum() / values[1:].sum()
    assert project_to_disk(all_distances(x), curvature=1.0).explained == pytest.approx(float(expected))


def test_no_plane_through_the_points_is_nearer() -> None:
    x = hyperboloid(25, 4)
    distances = all_distances(x)
    found = project_to_disk(distances, curvature=1.0)
    time, space = torch.linalg.eigh(torch.cosh(distances))[0][[-1]], torch.linalg.eigh(torch.cosh(distances))[0][:2]
    ours = float((time.sum() + space.sum()) / len(x)) - 1
    assert ours > 0
    generator = torch.Generator().manual_seed(2)
    for _ in range(200):
        # A random plane near the best axis-aligned one: boosted and rotated.
        chosen = torch.linalg.qr(torch.eye(4).double() + 0.3 * torch.randn(4, 4, generator=generator).double()).Q[:2]
        base = lorentz.expmap0(0.3 * torch.randn(1, 4, generator=generator).double(), curvature=1.0)
        basis = [torch.cat([lorentz.time(base, curvature=1.0), base], dim=1)[0]]
        metric = torch.tensor([-1.0, 1.0, 1.0, 1.0, 1.0]).double()
        for row in chosen:
            v = torch.cat([torch.zeros(1).double(), row])
            v = v + basis[0] * float((v * metric) @ basis[0])
            for other in basis[1:]:
                v = v - other * float((v * metric) @ other)
            basis.append(v / ((v * metric) @ v).sqrt())
        assert residual(x, torch.stack(basis)) >= ours - 1e-9
    assert found.points.norm(dim=1).max() < 1


def test_no_distance_grows() -> None:
    x = hyperboloid(40, 20, 0.7)
    disk = project_to_disk(all_distances(x), curvature=1.0)
    assert (disk_distances(disk.points) <= all_distances(x) + 1e-7).all()
    plane = project_to_plane(torch.cdist(x, x))
    assert (torch.cdist(plane.points, plane.points) <= torch.cdist(x, x) + 1e-7).all()
    assert 0 < disk.explained < 1
    assert 0 < plane.explained < 1


def test_isometries_change_nothing() -> None:
    x = hyperboloid(20, 5, 0.8)
    ball = lorentz.to_poincare(x, curvature=1.0)
    shift = torch.full((20, 5), 0.2).double()
    turn = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(3)).double()).Q
    moved = lorentz.from_poincare(poincare.mobius_add(shift, ball, curvature=1.0) @ turn, curvature=1.0)
    first = project_to_disk(all_distances(x), curvature=1.0)
    second = project_to_disk(all_distances(moved), curvature=1.0)
    torch.testing.assert_close(first.points, second.points, atol=1e-7, rtol=1e-6)
    torch.testing.assert_close(first.points, project_to_disk(all_distances(x), curvature=1.0).points, atol=0, rtol=0)


def test_order_of_the_points_does_not_matter() -> None:
    distances, order = all_distances(hyperboloid(15, 4)), torch.randperm(15, generator=torch.Generator().manual_seed(4))
    found = project_to_disk(distances[order][:, order], curvature=1.0).points
    torch.testing.assert_close(found, project_to_disk(distances, curvature=1.0).points[order], atol=1e-9, rtol=1e-9)


def test_further_points_are_mapped_alike() -> None:
    x = hyperboloid(12, 6)
    distances = all_distances(x)
    found = project_to_disk(distances, curvature=1.0, others=distances[[3, 7]])
    torch.testing.assert_close(found.others, found.points[[3, 7]], atol=1e-9, rtol=1e-9)
    origin = torch.zeros(1, 6).double()
    opposite = torch.cat([x, -x])
    centred = project_to_disk(all_distances(opposite), curvature=1.0, others=all_distances(origin, opposite))
    torch.testing.assert_close(centred.others, torch.zeros(1, 2).double(), atol=1e-9, rtol=0)


def test_points_on_a_line_or_all_alike() -> None:
    line = torch.zeros(5, 3).double()
    line[:, 0] = torch.linspace(-1, 2, 5)
    distances = all_distances(line)
    found = project_to_disk(distances, curvature=1.0, others=distances[:1])
    assert found.points[:, 1].abs().max() < 1e-6
    torch.testing.assert_close(disk_distances(found.points), distances, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(found.others, found.points[:1], atol=1e-6, rtol=0)
    alike = project_to_disk(torch.zeros(4, 4), curvature=1.0)
    assert alike.points.abs().max() == 0
    assert alike.explained == 1.0
    assert project_to_plane(torch.zeros(4, 4)).explained == 1.0


def test_plane_is_principal_component_analysis() -> None:
    x = torch.randn(20, 6, generator=torch.Generator().manual_seed(5)).double() * torch.arange(1, 7)
    found = project_to_plane(torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist"))
    _, values, axes = torch.linalg.svd(x - x.mean(dim=0), full_matrices=False)
    expected = (x - x.mean(dim=0)) @ axes[:2].T
    signs = torch.sign((expected * found.points).sum(dim=0))
    torch.testing.assert_close(found.points, expected * signs, atol=1e-9, rtol=1e-9)
    assert found.explained == pytest.approx(float(values[:2].square().sum() / values.square().sum()))
    assert (found.points.gather(0, found.points.abs().argmax(dim=0, keepdim=True)) > 0).all()


@pytest.mark.parametrize(
    ("distances", "message"),
    [
        (torch.zeros(2, 2), "at least 3"),
        (torch.zeros(3, 4), "square"),
        (torch.full((3, 3), torch.nan), "finite"),
        (-torch.ones(3, 3), "at least 0"),
        (torch.ones(3, 3), "diagonal"),
        (torch.tensor([[0.0, 1, 2], [2, 0, 1], [2, 1, 0]]), "symmetric"),
        ((LONGEST + 1) * (1 - torch.eye(3)), "at most"),
    ],
)
def test_what_is_no_matrix_of_distances(distances: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        project_to_disk(distances, curvature=1.0)


@pytest.mark.parametrize("curvature", [0.0, -1.0, math.inf, math.nan])
def test_what_is_no_curvature(curvature: float) -> None:
    with pytest.raises(ValueError, match="curvature"):
        project_to_disk(torch.zeros(3, 3), curvature=curvature)
