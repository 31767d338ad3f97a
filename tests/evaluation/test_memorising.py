import torch

from vaegan.evaluation import memorising


def test_nearest_is_the_smallest_of_all_distances():
    generator = torch.Generator().manual_seed(0)
    images, training = torch.rand(1100, 784, generator=generator), torch.rand(300, 784, generator=generator)
    distance, index = memorising.nearest(images, training)
    expected = torch.cdist(images.double(), training.double()).min(dim=1)
    assert torch.equal(index, expected.indices)
    torch.testing.assert_close(distance.double(), expected.values, rtol=1e-4, atol=1e-4)


def test_a_copied_training_image_is_found():
    training = torch.rand(50, 784, generator=torch.Generator().manual_seed(0))
    distance, index = memorising.nearest(training[[17, 3]], training)
    assert index.tolist() == [17, 3] and (distance < 0.02).all()
